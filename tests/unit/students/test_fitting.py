"""Students fit what they are shaped for; their tables shrink with the width alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.gguf_models import LLAMA, decoder_tensors, planned
from fixtures.plans import MIB, decoder, model
from fixtures.shaped_models import bert
from hypothesis import given
from hypothesis import strategies as st

from edgekit.students import INT8, Q4_K_M, Q8_0, Budget, fitting

ANYTHING = Budget(None, None, 0, 0, 0)


def disk(size: float) -> Budget:
    return replace(ANYTHING, disk_bytes=size)


def test_without_limits_one_layer_is_given_up() -> None:
    source = decoder(layers=12, width=512)
    student = fitting(source, INT8, ANYTHING)
    assert student is not None
    assert (student.layers, student.hidden) == (11, 512)
    assert student.parameters == source.parameters - 12 * 512 * 512
    assert student.packed_as == "onnx-int8"


def test_the_table_is_counted_whole_however_shallow_the_student() -> None:
    source = decoder(layers=12, width=512, vocabulary=100_000)  # a table of 51.2 million
    student = fitting(source, INT8, disk(0.85 * source.parameters))
    assert student is not None
    assert student.hidden == 512
    assert student.parameters == 100_000 * 512 + 512 + student.layers * 12 * 512**2
    narrower = fitting(source, INT8, disk(51_000_000))  # less than the table alone
    assert narrower is not None
    assert narrower.hidden < 512


def test_depth_goes_to_a_third_then_the_width_narrows_by_whole_heads() -> None:
    source = decoder(layers=12, width=512)  # 8 heads of 64
    at_a_third = (8000 * 512 + 512 + 4 * 12 * 512**2) * 8.1 / 8
    student = fitting(source, INT8, disk(at_a_third + 1))
    assert student is not None
    assert (student.layers, student.hidden) == (4, 512)
    below = fitting(source, INT8, disk(at_a_third - 1))
    assert below is not None
    assert below.hidden == 448
    assert below.layers > 4


@pytest.mark.parametrize(("heads", "step"), [(8, 64), (4, 128), (16, 64), (6, 64)])
def test_widths_are_multiples_of_64_and_of_a_head(heads: int, step: int) -> None:
    source = decoder(layers=3, width=512)
    source = replace(source, config={**source.config, "num_attention_heads": heads})
    student = fitting(source, INT8, disk(0.3 * source.parameters))
    assert student is not None
    assert student.hidden % step == 0


def test_nothing_fits_nothing() -> None:
    assert fitting(decoder(), Q4_K_M, disk(1000)) is None
    assert (
        fitting(decoder(), Q4_K_M, replace(ANYTHING, ram_bytes=10 * MIB, fixed_bytes=10 * MIB, per_file_byte=1)) is None
    )


def test_a_model_that_tells_no_shape_has_no_student() -> None:
    assert fitting(model(), INT8, ANYTHING) is None
    assert fitting(replace(decoder(), config={}), INT8, ANYTHING) is None
    assert fitting(replace(decoder(), config={"hidden_size": "512", "num_hidden_layers": 12}), INT8, ANYTHING) is None


def test_wider_types_leave_less_room() -> None:
    small, large = (fitting(decoder(), packing, disk(20 * MIB)) for packing in (Q8_0, Q4_K_M))
    assert small is not None
    assert large is not None
    assert small.parameters < large.parameters


def test_real_shapes_are_read() -> None:
    """Of BERT's and Llama's own tensors; a student's parameters are those of a model of its shape."""
    encoder = fitting(bert(layers=6, width=128, inner=512, heads=4), INT8, ANYTHING)
    assert encoder is not None
    assert encoder.parameters == sum(t.elements for t in bert(layers=5, width=128, inner=512, heads=4).tensors)
    shape = LLAMA | {"hidden_size": 256, "intermediate_size": 640, "num_hidden_layers": 3}
    whole = planned(shape)
    narrow = fitting(whole, Q8_0, disk(0.25 * whole.parameters))
    assert narrow is not None
    assert narrow.hidden < 256
    share = narrow.hidden / 256
    like = shape | {"hidden_size": narrow.hidden, "num_hidden_layers": narrow.layers,
                    "intermediate_size": round(640 * share), "head_dim": 64 * share}  # fmt: skip
    counted = sum(a * (b[0] if b else 1) for a, *b in decoder_tensors(like).values())
    assert narrow.parameters == pytest.approx(counted, rel=1e-6)


@given(
    st.integers(1, 40), st.integers(2, 16), st.floats(1e5, 1e8), st.floats(1e5, 1e8), st.floats(0, 1e7), st.floats(0, 3)
)
def test_what_is_proposed_fits(
    layers: int, eighths: int, disk_bytes: float, ram: float, fixed: float, grows: float
) -> None:
    source = decoder(layers, 64 * eighths)
    budget = Budget(disk_bytes, ram, fixed, grows, 1e6)
    student = fitting(source, Q4_K_M, budget)
    if student is not None:
        assert student.bytes <= disk_bytes
        kv_bytes = 1e6 * student.layers / layers * student.hidden / (64 * eighths)
        assert fixed + grows * student.bytes + kv_bytes <= ram
        assert 1 <= student.layers <= layers
        assert student.parameters < source.parameters


@given(st.floats(1e6, 1e8), st.floats(0, 1e8))
def test_more_room_gives_no_narrower_student(size: float, more: float) -> None:
    student, roomier = (fitting(decoder(), INT8, disk(limit)) for limit in (size, size + more))
    if student is not None:
        assert roomier is not None
        assert (roomier.hidden, roomier.layers) >= (student.hidden, student.layers)
