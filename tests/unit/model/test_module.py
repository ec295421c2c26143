from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from edgekit.errors import BadModel, UnsupportedModel
from edgekit.model import ImageSetup, from_torch, source_sha256

if TYPE_CHECKING:
    import torch

pytestmark = pytest.mark.engines


@pytest.fixture
def net() -> torch.nn.Module:
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = torch.nn.Linear(4, 2)

        def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
            return self.layer(x) * scale

    return Net()


def test_inputs_get_the_names_of_forward(net: torch.nn.Module) -> None:
    import torch

    x, scale = torch.zeros(3, 4), torch.ones(3, 1)
    model = from_torch(net, (x, scale), name="My Net")
    assert (model.name, model.format, model.task, model.kind) == ("my-net", "torch", "tensors", "module")
    assert list(model.example_inputs) == ["x", "scale"]
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in model.tensors] == [
        ("layer.weight", "F32", (2, 4)),
        ("layer.bias", "F32", (2,)),
    ]
    assert model.parameters == 10
    assert from_torch(net, {"scale": scale, "x": x}, name="n").example_inputs.keys() == {"x", "scale"}
    assert net.training


def test_the_digest_is_of_the_weights(net: torch.nn.Module) -> None:
    import torch

    def digest() -> str:
        return source_sha256(from_torch(net, (torch.zeros(1, 4), torch.ones(1, 1)), name="n"))

    before = digest()
    assert before == digest()
    with torch.no_grad():
        next(net.parameters())[0, 0] += 1
    assert before != digest()


def test_image_classification_needs_labels_and_a_setup(net: torch.nn.Module) -> None:
    import torch

    setup = ImageSetup(8, 8, (0.0,) * 3, (1.0,) * 3)
    picture = torch.zeros(1, 3, 8, 8)
    model = from_torch(net, picture, name="n", task="image-classification", labels=("a", "b"), image=setup)
    assert (model.kind, model.labels, model.image) == ("classifier", ("a", "b"), setup)
    with pytest.raises(BadModel, match="needs labels"):
        from_torch(net, picture, name="n", task="image-classification")


def test_what_is_refused(net: torch.nn.Module) -> None:
    import torch

    x, scale = torch.zeros(3, 4), torch.ones(3, 1)
    wrong: list[tuple[Any, str]] = [
        ((), "no example inputs"),
        ((x, scale, x), "takes 2 inputs, 3 examples"),
        ({"y": x}, "the example inputs name 'y'"),
        ((x, torch.ones(2, 1)), "batch sizes"),
        ((x, torch.tensor(1.0)), "example input scale is no tensor with a batch axis"),
        ((x, [1.0]), "example input scale"),
    ]
    for inputs, said in wrong:
        with pytest.raises(BadModel, match=said):
            from_torch(net, inputs, name="n")
    with pytest.raises(UnsupportedModel, match="list is not a torch"):
        from_torch([], x, name="n")  # type: ignore[arg-type]
    with pytest.raises(UnsupportedModel, match="cannot be packed for causal-lm"):
        from_torch(net, x, name="n", task="causal-lm")
    with torch.no_grad():
        next(net.parameters())[0, 0] = float("inf")
    with pytest.raises(BadModel, match=r"tensor layer\.weight holds NaN or infinite values"):
        from_torch(net, (x, scale), name="n")
