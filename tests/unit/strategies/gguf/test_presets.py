"""Types of tensors: sizes, fallbacks, and the places where a mixture spends more."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.gguf_models import LLAMA, planned

from edgekit.strategies.gguf import choice_of
from edgekit.strategies.gguf.architecture import lay_out
from edgekit.strategies.gguf.presets import (
    BLOCKS,
    OFFERED,
    PRESETS,
    GgmlType,
    carried_type,
    carrying,
    choose,
    is_quantizable,
    offered,
    preset_of,
    tensor_bytes,
)
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


def test_each_preset_offered_is_smaller_than_the_one_before_but_for_q4_0() -> None:
    layout = lay_out(planned(LLAMA | {"hidden_size": 256, "intermediate_size": 512}))
    sizes = {}
    for name in OFFERED:
        choice = choice_of(layout, PRESETS[name])
        sizes[name] = sum(tensor_bytes(target, choice(target)) for target in layout.targets)
    assert sizes["IQ4_XS"] < sizes.pop("Q4_0") < sizes["Q4_K_M"]  # it is there for its speed
    assert list(sizes.values()) == sorted(sizes.values(), reverse=True)
    assert len(set(sizes.values())) == len(sizes)


def quantized_targets(carried: str | None, columns: int = 256) -> list[Target]:
    targets = [Target(f"blk.{layer}.ffn_up.weight", (256, columns), "w", carried=carried) for layer in range(4)]
    norm = Target("blk.0.attn_norm.weight", (columns,), "n")
    return [*targets, norm, Target("token_embd.weight", (64, columns)), Target("output.weight", (64, columns))]


@pytest.mark.parametrize(
    ("carried", "expected"),
    [
        ("Q4_0", ["F16", "Q4_0", "Q4_0 Q8_0", "IQ4_XS", "Q3_K_M", "Q2_K"]),
        ("Q4_1", ["F16", "Q4_1", "Q4_1 Q8_0", "Q4_K_M", "IQ4_XS", "Q4_0", "Q3_K_M", "Q2_K"]),
        ("MXFP4", ["F16", "MXFP4", "MXFP4 Q8_0", "Q3_K_M", "Q2_K"]),
        ("Q8_0", ["F16", "Q8_0", "Q8_0 Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q4_0", "Q3_K_M", "Q2_K"]),
        (None, list(OFFERED)),
    ],
)
def test_what_is_quantized_already_is_carried_first(carried: str | None, expected: list[str]) -> None:
    found = offered(quantized_targets(carried))
    assert [" ".join(preset.options.values()) for preset in found] == expected
    kept = [preset.faithfulness for preset in found]
    assert kept == sorted(kept, reverse=True)
    assert [preset_of(preset.options, quantized_targets(carried)) for preset in found] == list(found)


@pytest.mark.parametrize("rest", ["F16", "Q8_0"])
def test_carrying_keeps_what_is_on_a_grid_and_gives_the_rest_more(rest: GgmlType) -> None:
    targets = quantized_targets("Q4_1")
    targets[1] = replace(targets[1], carried="Q8_0")
    targets[2] = replace(targets[2], carried=None)
    choice = choose(carrying("Q4_1", rest), targets, "llama", 4, False)
    assert [choice(target) for target in targets] == ["Q4_1", "Q8_0", rest, "Q4_1", "F32", rest, rest]


def test_rows_that_do_not_divide_are_kept_in_f16_beside_what_is_carried() -> None:
    targets = quantized_targets("Q4_0")
    odd = Target("token_embd.weight", (64, 40))
    assert choose(carrying("Q4_0", "Q8_0"), targets, "llama", 4, False)(odd) == "F16"


def test_a_few_matrices_on_a_grid_do_not_make_a_quantized_model() -> None:
    targets = [
        replace(target, carried=None if target.layer else target.carried) for target in quantized_targets("Q4_0")
    ]
    assert carried_type(targets) is None
    assert [preset.name for preset in offered(targets)] == list(OFFERED)


def test_the_bytes_of_broken_blocks_are_not_guessed() -> None:
    with pytest.raises(ValueError, match="do not divide into Q4_K blocks"):
        tensor_bytes(Target("a", (4, 100)), "Q4_K")
