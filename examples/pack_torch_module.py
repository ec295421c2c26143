"""Pack a plain torch module: a small convolution net, statically quantized, for the machine this runs on.

python examples/pack_torch_module.py [OUT]
"""

from __future__ import annotations

import sys

import torch

import edgekit


class Net(torch.nn.Module):
    """A stand-in for a net you trained: 3 x 64 x 64 pictures to ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = torch.nn.Sequential(
            torch.nn.Conv2d(3, 32, 3, stride=2, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(32, 64, 3, stride=2, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(64, 128, 3, stride=2, padding=1),
            torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(1),
        )
        self.head = torch.nn.Linear(128, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(image).flatten(1))


def main(out: str = "bundles/net-host") -> None:
    torch.manual_seed(0)
    packed = edgekit.pack(
        Net().eval(), "host", name="net", example_inputs={"image": torch.randn(1, 3, 64, 64)}, out=out
    )
    print(f"{packed.manifest.strategy}: mean cosine {packed.report.figure('mean cosine'):.4f}")
    print(f"run it as an app does: python examples/app.py {packed.folder}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
