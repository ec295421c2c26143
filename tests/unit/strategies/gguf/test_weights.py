"""Amounts against sums done by hand, for a decoder of two layers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.gguf_models import stored_llama

from edgekit.model import TensorInfo
from edgekit.strategies.gguf.weights import weigh

LAYER = 2 * 64 * 64 + 2 * 32 * 64 + 3 * 160 * 64  # queries and output, keys and values, feed-forward
TABLE = 6816  # 100 rows of 64 in blocks of 34 bytes, which end at a multiple of 32


def test_a_decoder_s_figures_are_those_of_its_shapes() -> None:
    weights = weigh(stored_llama(), decodes=True)
    assert weights.products == {"Q4_0": 2 * LAYER}
    assert weights.output == {"Q8_0": 100 * 64}
    assert (weights.layers, weights.width, weights.inner, weights.gated) == (2, 64, 160, True)
    assert (weights.query_width, weights.cached, weights.vocabulary) == (64, 2 * (32 + 32), 100)
    assert weights.data_bytes == 2 * LAYER // 32 * 18 + 5 * 64 * 4 + 2 * TABLE
    assert weights.nodes == 4 + 2 * (9 + 2) + 2 * 8
    assert weights.known


def test_an_embedding_is_read_whole_only_where_it_is_the_output_too() -> None:
    untied = weigh(stored_llama(), decodes=True)
    assert untied.read_bytes == untied.data_bytes - TABLE
    tied = weigh([tensor for tensor in stored_llama() if tensor.name != "output.weight"], decodes=True)
    assert tied.read_bytes == tied.data_bytes == untied.data_bytes - TABLE
    assert tied.output == {"Q8_0": 100 * 64}


def test_an_encoder_has_no_output_and_looks_its_positions_up() -> None:
    tensors = [
        *(tensor for tensor in stored_llama() if tensor.name != "output.weight"),
        TensorInfo("position_embd.weight", "F32", (128, 64)),
    ]
    weights = weigh(tensors, decodes=False)
    assert weights.output == {}
    assert weights.data_bytes - weights.read_bytes == TABLE + 4 * 128 * 64


def test_fused_matrices_tell_the_same_widths() -> None:
    fused = [
        TensorInfo("token_embd.weight", "F16", (100, 64)),
        TensorInfo("blk.0.attn_qkv.weight", "F16", (64 + 2 * 32, 64)),
        TensorInfo("blk.0.attn_output.weight", "F16", (64, 64)),
        TensorInfo("blk.0.ffn_up.weight", "F16", (2 * 160, 64)),
        TensorInfo("blk.0.ffn_down.weight", "F16", (64, 160)),
    ]
    weights = weigh(fused, decodes=True)
    assert (weights.query_width, weights.cached, weights.inner, weights.gated) == (64, 64, 160, True)


@pytest.mark.parametrize(
    "unusual",
    [
        TensorInfo("blk.0.ffn_down_exps.weight", "Q4_0", (8, 64, 160)),
        TensorInfo("blk.2.ssm_in.weight", "Q4_0", (64, 64)),
    ],
)
def test_what_shapes_do_not_tell_is_not_told(unusual: TensorInfo) -> None:
    assert not weigh([*stored_llama(), unusual], decodes=True).known


def test_a_layer_of_any_number_is_one_layer() -> None:
    far = [replace(tensor, name=tensor.name.replace("blk.1.", "blk.999999999.")) for tensor in stored_llama()]
    assert weigh(far, decodes=True) == weigh(stored_llama(), decodes=True)
    beyond = [*stored_llama(), TensorInfo(f"blk.{'9' * 5000}.attn_q.weight", "F16", (64, 64))]
    assert weigh(beyond, decodes=True).layers == 2


def test_copies_are_grouped_by_what_divides_their_rows() -> None:
    odd = [
        replace(tensor, shape=(36, 64)) if tensor.name.endswith("attn_k.weight") else tensor
        for tensor in stored_llama()
    ]
    copies = weigh(odd, decodes=True).copies
    assert copies["Q4_0", 4] == 2 * 36 * 64 // 32 * 18
    assert ("Q8_0", 4) in copies  # the output has 100 rows
    assert sum(copies.values()) == 2 * (LAYER + 4 * 64) // 32 * 18 + 100 * 64 // 32 * 34
