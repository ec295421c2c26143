"""Packed checkpoints that do not fit together: one line that says what, never a crash and never other weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.quantized_models import CHECKPOINTS, quantized_llama

from edgekit.checkpoint import open_checkpoint
from edgekit.errors import BadModel, EdgekitError, UnsupportedModel
from edgekit.model import open_model

pytestmark = pytest.mark.engines

STEM = "model.layers.0.self_attn.q_proj."
Change = Callable[[dict[str, np.ndarray]], None]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny model of a kind, made once."""

    @cache
    def make(kind: str) -> Path:
        return quantized_llama(tmp_path_factory.mktemp("sound"), kind, num_hidden_layers=1).folder

    return make


def changed(source: Path, folder: Path, change: Change) -> Path:
    """A copy of `source` with `change` done to the parts of one matrix, by suffix."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(source, folder)
    stored = load_file(folder / "model.safetensors")
    parts = {name.removeprefix(STEM): value for name, value in stored.items() if name.startswith(STEM)}
    change(parts)
    kept = {name: value for name, value in stored.items() if not name.startswith(STEM)}
    save_file(kept | {STEM + name: np.ascontiguousarray(value) for name, value in parts.items()},
              folder / "model.safetensors", {"format": "pt"})  # fmt: skip
    return folder


def read_all(folder: Path) -> None:
    model = open_model(folder)
    with open_checkpoint(model) as checkpoint:
        for tensor in model.tensors:
            assert checkpoint.read(tensor.name).shape == tensor.shape


def set_to(name: str, value: Any) -> Change:
    def change(parts: dict[str, np.ndarray]) -> None:
        parts[name] = value(parts[name]) if callable(value) else value

    return change


def drop(name: str) -> Change:
    def change(parts: dict[str, np.ndarray]) -> None:
        del parts[name]

    return change


def state(**values: Any) -> Change:
    name = "weight.quant_state.bitsandbytes__nf4"

    def change(parts: dict[str, np.ndarray]) -> None:
        content = json.loads(parts[name].tobytes()) | values
        parts[name] = np.frombuffer(json.dumps(content).encode(), np.uint8).copy()

    return change


def nan_first(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flat[0] = np.nan
    return array


CASES: dict[str, tuple[str, Change, str]] = {
    "no scales": ("gptq", drop("scales"), "scales' is missing beside its packed weights"),
    "no zeros": ("gptq", drop("qzeros"), "qzeros' is missing"),
    "short weights": ("gptq", set_to("qweight", lambda a: a[:-1]), r"g_idx' is I32 \[128\], a shape of \[120\]"),
    "float codes": ("gptq", set_to("qweight", lambda a: a.astype(np.float32)), "a matrix of I32 is expected"),
    "wide zeros": ("gptq", set_to("qzeros", lambda a: np.tile(a, (1, 5))), "bits for each of 128 outputs"),
    "group beyond": ("gptq act-order", set_to("g_idx", lambda a: a + 1), "names group 4, there are 4"),
    "group below": ("gptq act-order", set_to("g_idx", lambda a: a - 1), "names group 2, there are 4"),
    "NaN scale": ("gptq", set_to("scales", nan_first), "holds 1 NaN or infinite values"),
    "awq zeros": ("awq", set_to("qzeros", lambda a: a[:-1]), r"a shape of \[4, 16\] is expected"),
    "awq groups": ("awq", set_to("scales", lambda a: a[:-1]), "I32"),
    "stored twice": ("awq", set_to("weight", np.ones((4, 4), np.float32)), "is stored twice, packed and as it is"),
    "no shape": ("ct int4", drop("weight_shape"), "does not say the two axes"),
    "a shape too large": ("ct int4", set_to("weight_shape", np.array([128, 1 << 40])), "packed are"),
    "a negative shape": ("ct int4", set_to("weight_shape", np.array([128, -128])), "packed are"),
    "other bits": ("ct int4", set_to("weight_shape", np.array([128, 64])), "packs 8 bits, config.json says"),
    "int8 scales": ("ct int8 channel", set_to("weight_scale", lambda a: a[:7]), "scales for 128 rows in groups"),
    "mxfp4 scales": ("mxfp4", drop("weight_scales"), "weight_scales' is missing"),
    "mxfp4 blocks": ("mxfp4", set_to("weight_blocks", lambda a: a[:, :-1]), "16 bytes for each of the scales"),
    "mxfp4 NaN": ("mxfp4", set_to("weight_scales", lambda a: a | 255), "a scale that is not a number"),
    "nf4 text": ("nf4", set_to("weight.quant_state.bitsandbytes__nf4", np.frombuffer(b"{", np.uint8)), "is not JSON"),
    "nf4 list": ("nf4", set_to("weight.quant_state.bitsandbytes__nf4", np.frombuffer(b"[]", np.uint8)), "JSON object"),
    "nf4 shape": ("nf4", state(shape=[128, 1 << 50]), "is expected"),
    "nf4 axes": ("nf4", state(shape="many"), "two axes are expected"),
    "nf4 block": ("nf4", state(blocksize=0), "a power of two is expected"),
    "nf4 peaks": ("nf4", drop("weight.absmax"), "does not hold 256 peaks"),
    "nf4 table": ("nf4", set_to("weight.quant_map", lambda a: a[:8]), r"a shape of \[16\]"),
    "nf4 nested": ("nf4 nested", drop("weight.nested_absmax"), "without all that says how"),
    "nf4 nested block": ("nf4 nested", state(nested_blocksize=-1), "without all that says how"),
    "int8 peaks": ("llm.int8", set_to("SCB", lambda a: a[:-1]), r"a shape of \[128\]"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_parts_that_do_not_belong_together_are_named(case: str, sound: Callable[[str], Path], tmp_path: Path) -> None:
    kind, change, message = CASES[case]
    folder = changed(sound(kind), tmp_path / "m", change)
    with pytest.raises((BadModel, UnsupportedModel), match=message) as caught:
        read_all(folder)
    assert "\n" not in str(caught.value)


def halved(array: np.ndarray) -> np.ndarray:
    return array[: max(len(array) // 2, 1)] if array.ndim else array


def as_bytes(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)


def emptied(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1)[:0]


def noise(array: np.ndarray) -> np.ndarray:
    data = np.random.default_rng(5).integers(0, 256, array.nbytes, np.uint8)
    return data.view(array.dtype).reshape(array.shape)


@pytest.mark.parametrize("how", [halved, as_bytes, emptied, noise, np.atleast_2d, np.transpose])
@pytest.mark.parametrize("kind", [kind for kind in CHECKPOINTS if kind not in ("auto-round", "gptq v2", "awq g128")])
def test_no_part_can_be_damaged_into_a_crash(
    kind: str, how: Callable[[np.ndarray], np.ndarray], sound: Callable[[str], Path], tmp_path: Path
) -> None:
    names: list[str] = []
    changed(sound(kind), tmp_path / "names", lambda parts: names.extend(parts))
    assert names
    for name in names:
        folder = changed(sound(kind), tmp_path / name, set_to(name, how))
        with suppress(EdgekitError):
            read_all(folder)


@pytest.mark.parametrize(
    ("setup", "message"),
    [
        ({"quant_method": "gptq", "checkpoint_format": "marlin"}, "GPTQ weights in the format 'marlin' are not read"),
        ({"quant_method": "awq", "version": "gemv"}, "in the layout 'gemv' are not read"),
        ({"quant_method": "awq", "bits": 3}, "AWQ weights of 3 bits"),
        ({"quant_method": "compressed-tensors", "transform_config": {"a": 1}}, "under a transform are not read"),
        ({"quant_method": "aqlm"}, "weights quantized by 'aqlm' are not read"),
    ],
)
def test_a_variant_that_is_not_read_is_refused_with_the_reason(
    setup: dict[str, Any], message: str, sound: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = changed(sound("gptq"), tmp_path / "m", lambda parts: None)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": setup}), encoding="utf-8")
    model = open_model(folder)
    assert model.quantization is None
    assert message in " ".join(model.evidence)


def test_a_setup_that_is_no_object_is_refused(sound: Callable[[str], Path], tmp_path: Path) -> None:
    folder = changed(sound("gptq"), tmp_path / "m", lambda parts: None)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": ["gptq"]}), encoding="utf-8")
    with pytest.raises(BadModel, match="quantization_config is list, an object is expected"):
        open_model(folder)
