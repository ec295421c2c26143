"""Types of tensors: sizes, fallbacks, and the places where a mixture spends more."""

from __future__ import annotations

import pytest
from fixtures.gguf_models import LLAMA, planned

from edgekit.strategies.gguf import choice_of
from edgekit.strategies.gguf.architecture import lay_out
from edgekit.strategies.gguf.presets import BLOCKS, OFFERED, PRESETS, choose, is_quantizable, tensor_bytes
from edgekit.strategies.gguf.targets import Target


def test_block_sizes_and_file_types_are_gguf_s() -> None:
    gguf = pytest.importorskip("gguf")
    for name, sizes in BLOCKS.items():
        assert gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]] == sizes
    for preset in PRESETS.values():
        assert (
            gguf.LlamaFileType(preset.file_type).name == ("ALL_" if preset.name == "F32" else "MOSTLY_") + preset.name
        )


@pytest.mark.parametrize(
    ("columns", "expected"), [(256, "Q4_K"), (896, "Q5_0"), (32, "Q5_0"), (176, "F16"), (40, "F16")]
)
def test_rows_that_are_not_whole_blocks_fall_back(columns: int, expected: str) -> None:
    target = Target("blk.0.attn_q.weight", (64, columns))
    # An output of its own, so that the embedding plays no part; 24 layers, so that layer 0 is a sensitive one.
    choice = choose(PRESETS["Q4_K_M"], [target, Target("output.weight", (8, 256))], "llama", 24, False)
    assert choice(target) == expected


def test_the_mixture_spends_more_on_v_and_down_at_the_ends_and_every_third_layer() -> None:
    targets = [
        Target(f"blk.{layer}.{part}.weight", (256, 256))
        for layer in range(24)
        for part in ("attn_v", "ffn_down", "ffn_up")
    ]
    choice = choose(PRESETS["Q4_K_M"], targets, "qwen2", 24, True)
    more = [target.layer for target in targets if "attn_v" in target.name and choice(target) == "Q6_K"]
    assert more == [0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23]
    assert [target.layer for target in targets if "ffn_down" in target.name and choice(target) == "Q6_K"] == more
    assert {choice(target) for target in targets if "ffn_up" in target.name} == {"Q4_K"}


def test_a_70b_shape_gets_more_for_its_shared_v() -> None:
    target = Target("blk.13.attn_v.weight", (256, 256))
    assert choose(PRESETS["Q4_K_M"], [target], "llama", 80, True)(target) == "Q5_K"
    assert choose(PRESETS["Q4_K_M"], [target], "llama", 80, False)(target) == "Q4_K"
    assert choose(PRESETS["Q4_K_M"], [target], "qwen2", 80, False)(target) == "Q5_K"


@pytest.mark.parametrize(
    ("preset", "expected"), [("Q4_0", "Q6_K"), ("Q4_K_M", "Q6_K"), ("Q8_0", "Q8_0"), ("F16", "F16")]
)
def test_what_gives_the_logits_gets_more(preset: str, expected: str) -> None:
    embedding, output = Target("token_embd.weight", (100, 256)), Target("output.weight", (100, 256))
    assert choose(PRESETS[preset], [embedding], "llama", 2, False)(embedding) == expected
    untied = choose(PRESETS[preset], [embedding, output], "llama", 2, False)
    assert untied(output) == expected
    assert untied(embedding) == PRESETS[preset].base


@pytest.mark.parametrize("name", ["blk.0.attn_norm.weight", "token_types.weight", "position_embd.weight", "x.bias"])
def test_norms_and_small_tables_stay_float32(name: str) -> None:
    target = Target(name, (2, 256))
    assert not is_quantizable(target)
    assert choose(PRESETS["Q4_0"], [target], "bert", 2, False)(target) == "F32"


def test_vectors_stay_float32() -> None:
    assert not is_quantizable(Target("blk.0.attn_q.weight", (256,)))


def test_each_preset_offered_is_smaller_than_the_one_before() -> None:
    layout = lay_out(planned(LLAMA | {"hidden_size": 256, "intermediate_size": 512}))
    sizes = []
    for name in OFFERED:
        choice = choice_of(layout, PRESETS[name])
        sizes.append(sum(tensor_bytes(target, choice(target)) for target in layout.targets))
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(OFFERED)


def test_the_bytes_of_broken_blocks_are_not_guessed() -> None:
    with pytest.raises(ValueError, match="do not divide into Q4_K blocks"):
        tensor_bytes(Target("a", (4, 100)), "Q4_K")
