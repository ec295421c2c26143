"""Memory: a bundle that fits a 512 MB board runs within its limit, and those that do not are caught before they ship.

    python benchmarks/memory_limit.py [--layers 12] [--json FILE]

The board is a Raspberry Pi Zero 2 W, which lets an app use 384 of its 512 MB. Three bundles are held to that, each in a
process of its own that the limit is enforced on: all-MiniLM-L6-v2 in int8, packed for it; an unquantized random encoder
of BERT-base's shape (fewer with --layers), which the plan refuses for the board and which therefore is packed for a
larger one and validated for this one; and a module of few weights and large activations, which the plan cannot foresee.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.checkpoints import write_checkpoint
from harness.machine import heading, machine
from harness.results import at_least, minilm, parser, verdict, write
from harness.shapes import Shape

import edgekit
from edgekit import Limits
from edgekit.errors import DoesNotFit
from edgekit.findings import RUNS_WITHIN
from edgekit.report import Report, show
from edgekit.tables import table

BOARD, LARGER = "raspberry-pi-zero-2-w", "raspberry-pi-4-4gb"
# Random weights say nothing that fidelity limits are for, and the board's speed is not measured here.
LIMITS = Limits(min_cosine=0.0, min_agreement=0.0, max_slowdown=1000.0)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--layers", type=at_least(1), default=12, metavar="N", help="of the encoder (default 12)")
    options = arguments.parse_args()
    facts = machine()
    print(heading(facts))
    with tempfile.TemporaryDirectory(prefix="memory-limit-") as scratch:
        folder = Path(scratch)
        encoder = write_checkpoint(bert(options.layers), folder / "encoder")
        refused = refusal(encoder, folder / "refused")
        found = {
            "all-MiniLM-L6-v2, int8": (True, timed(lambda: packed(minilm(), folder / "minilm"))),
            f"BERT of {options.layers} layers, fp32": (False, timed(lambda: elsewhere(encoder, folder / "large"))),
            "large activations, int8": (False, timed(lambda: products(folder / "products"))),
        }
    results = {
        name: figures(report, seconds) | {"should_fit": fits} for name, (fits, (report, seconds)) in found.items()
    }
    print(shown(results))
    print(f"\nplanned for the board, the encoder is refused before any work: {refused}")
    write(options.json, {"machine": facts, "board": BOARD, "bundles": results, "plan_refuses": refused})


def bert(layers: int) -> Shape:
    config = {"num_hidden_layers": layers, "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    sizes = {"vocab_size": 30522, "max_position_embeddings": 512}
    return Shape(f"BERT {layers}x768", "encoder", "Bert", config | sizes, ("onnx-fp32",))


def timed(made: Callable[[], Report]) -> tuple[Report, float]:
    started = time.perf_counter()
    return made(), time.perf_counter() - started


def packed(source: Path, out: Path) -> Report:
    return edgekit.pack(source, BOARD, out=out, strategy="onnx-int8", limits=Limits(max_slowdown=1000.0)).report


def refusal(source: Path, out: Path) -> str:
    try:
        edgekit.pack(source, BOARD, out=out, strategy="onnx-fp32", limits=LIMITS)
    except DoesNotFit as error:
        return error.message
    raise SystemExit("the encoder was planned for the board: give more --layers")


def elsewhere(source: Path, out: Path) -> Report:
    edgekit.pack(source, LARGER, out=out, strategy="onnx-fp32", limits=LIMITS)
    return edgekit.validate(out, device=BOARD)


def products(out: Path) -> Report:
    """4 outputs of 16 inputs by way of every product of two of 4096 numbers: 64 MiB a tensor."""
    import torch

    class Products(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.narrow = torch.nn.Linear(16, 4096), torch.nn.Linear(4096, 4)

        def forward(self, x: Any) -> Any:
            wide = self.wide(x)
            return self.narrow((wide[:, :, None] * wide[:, None, :]).abs().sum(2))

    torch.manual_seed(0)
    inputs = torch.randn(2, 16)
    return edgekit.pack(
        Products().eval(), BOARD, name="products", example_inputs=inputs, out=out, limits=LIMITS, force=True
    ).report


def figures(report: Report, seconds: float) -> dict[str, Any]:
    rows = {row.name: row for row in report.rows}
    return {
        "runs_within_limit": rows[RUNS_WITHIN].measured == 1.0,
        "limit_bytes": rows["peak RSS"].limit,
        "peak_rss_bytes": rows["peak RSS"].measured,
        "model_file_bytes": rows["model file"].measured,
        "status": report.status,
        "told": rows[RUNS_WITHIN].where,
        "seconds": seconds,
    }


def shown(results: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (
            name,
            show(each["model_file_bytes"], "bytes"),
            show(each["peak_rss_bytes"], "bytes"),
            show(each["limit_bytes"], "bytes"),
            "yes" if each["runs_within_limit"] else "no",
            each["status"],
            verdict(each["runs_within_limit"] is each["should_fit"] is (each["status"] == "passed")),
            f"{each['seconds']:.0f}",
        )
        for name, each in results.items()
    ]
    header = (
        "bundle",
        "model file",
        "peak RSS without limit",
        "limit",
        "runs within it",
        "report",
        "as it should",
        "s",
    )
    return table(header, rows)


if __name__ == "__main__":
    main()
