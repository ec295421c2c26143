"""A student as an ordinary Hugging Face folder, which any tool opens, with its teacher's tokenizer and pooling."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.model import SourceModel, normalise_tokenizer_config
from edgekit.model.companions import companion
from edgekit.model.config import read_json
from edgekit.model.tokenizer import TOKENIZER_FILES
from edgekit.quiet import quiet_transformers

if TYPE_CHECKING:
    from torch import nn

_COPIED = (
    *(name for name in TOKENIZER_FILES if name not in ("tokenizer.json", "tokenizer_config.json")),
    "generation_config.json",
    "preprocessor_config.json",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
)
_MODES = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "last": "pooling_mode_lasttoken",
}
_PROMPTS = "config_sentence_transformers.json"


def save_folder(module: nn.Module, teacher: SourceModel, folder: Path, card: str, tag: str = "distilled") -> None:
    """Write `module`, a transformers one of the teacher's task and tokenizer, into the new folder `folder`.

    `card` is the text of its README.md, below the licence, which is the teacher's, and `tag`, which says what it is.
    """
    folder.mkdir(parents=True)
    with quiet_transformers():
        module.save_pretrained(folder, safe_serialization=True)  # type: ignore[operator]
    _copy_companions(teacher, folder)
    if any(file.name == "modules.json" for file in teacher.files):
        _write_sentence_modules(teacher, int(module.config.hidden_size), folder)  # type: ignore[union-attr, arg-type]
    licence = [] if teacher.licence is None else [f"license: {teacher.licence}"]
    front = "\n".join(["---", *licence, f"tags: [edgekit, {tag}]", "---"])
    card_file = folder / "README.md"
    card_file.write_text(f"{front}\n\n{card}\n", encoding="utf-8")
    for weights in folder.glob("*.safetensors"):  # which safetensors makes private
        weights.chmod(card_file.stat().st_mode)


def _copy_companions(teacher: SourceModel, folder: Path) -> None:
    if teacher.folder is not None:
        for name in _COPIED:
            if (source := companion(teacher.folder, name)) is not None:
                shutil.copyfile(source, folder / name)
        if (source := companion(teacher.folder, "tokenizer_config.json")) is not None:
            _write(folder / "tokenizer_config.json", normalise_tokenizer_config(read_json(source)))
    if teacher.text is None:
        return
    if teacher.text.tokenizer_json is not None:
        shutil.copyfile(teacher.text.tokenizer_json, folder / "tokenizer.json")
    if teacher.text.chat_template is not None:
        (folder / "chat_template.jinja").write_text(teacher.text.chat_template, encoding="utf-8")


def _write_sentence_modules(teacher: SourceModel, width: int, folder: Path) -> None:
    """sentence-transformers' own files: the encoder, how it is pooled, whether the result is normalised."""
    kinds = ["Transformer", "Pooling", *(["Normalize"] if teacher.normalize else [])]
    paths = ["", *(f"{index}_{kind}" for index, kind in enumerate(kinds) if index)]
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    _write(folder / "modules.json", modules)
    for path in paths[1:]:
        (folder / path).mkdir()
    pooled = {flag: mode == (teacher.pooling or "mean") for mode, flag in _MODES.items()}
    _write(folder / paths[1] / "config.json", {"word_embedding_dimension": width} | pooled)
    longest = teacher.text.max_tokens if teacher.text is not None else None
    _write(folder / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": False})
    prompts = next((file for file in teacher.files if file.name == _PROMPTS), None)
    if prompts is not None and teacher.folder is not None:
        source = companion((teacher.folder / prompts).parent, _PROMPTS)
        if source is not None:
            shutil.copyfile(source, folder / _PROMPTS)


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
