"""Evaluation data: the user's file (`--eval`), or what stands in for it, and where it came from."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekit.device.host import APP_SHARE, detect
from edgekit.errors import BadEvalData, EdgekitError, UnknownDevice
from edgekit.resources import sample_text, use_python_runtime

if TYPE_CHECKING:
    from edgekit.model import SourceModel, Task

Arrays = Mapping[str, NDArray[np.generic]]
# What a model is asked: a text, token ids, or arrays by input name; and the one float32 array it answers with.
Input = str | Sequence[int] | Arrays
Answer = NDArray[np.float32]

_MAX_EVAL_BYTES = 256 * 2**20
_SAMPLED_PICTURES = 64
_SAMPLED_TENSORS = 16

# Columns a task's eval file may bring. The first is needed; the others are labels, and all or none of them are given.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "embedding": ("text",),
    "text-classification": ("text", "label"),
    "token-classification": ("tokens", "labels"),
    "causal-lm": ("text",),
    "image-classification": ("image", "label"),
}
_PAIR_COLUMNS = ("text_a", "text_b", "score")


@dataclass(frozen=True)
class EvalSet:
    """Inputs to compare the bundle with the original on.

    `origin` is a sentence for the report. Exactly one of `texts`, `words`, `arrays` is filled; `labels` has one entry
    per input where the user gave them (token classification: one list per input). `pairs` holds the human score of
    texts 2i and 2i+1 (embedding).
    """

    origin: str
    texts: tuple[str, ...] = ()
    words: tuple[tuple[str, ...], ...] = ()
    arrays: tuple[Arrays, ...] = ()
    labels: tuple[str, ...] | tuple[tuple[str, ...], ...] | None = None
    pair_scores: tuple[float, ...] | None = None

    def __len__(self) -> int:
        return len(self.texts) or len(self.words) or len(self.arrays)


def default_set(model: SourceModel) -> EvalSet:
    """What stands in where the user gives no file. For a causal LM the text is sampled later, from the model itself."""
    if model.task == "image-classification" and model.image is not None:
        pictures = sampled_pictures(_SAMPLED_PICTURES, model.image.height, model.image.width)
        drawn = tuple({"pixel_values": _pixel_values(picture, model)} for picture in pictures)
        return EvalSet(f"{len(drawn)} drawn pictures (smooth noise, edges, gradients); not photographs", arrays=drawn)
    if model.task in ("tensors", "image-classification"):
        arrays = sampled_arrays(model, _SAMPLED_TENSORS)
        like = "like the example inputs" if model.example_inputs else "of the normal distribution, free axes 1 long"
        return EvalSet(f"{len(arrays)} random inputs {like}", arrays=arrays)
    lines = tuple(line for line in sample_text().read_text(encoding="utf-8").splitlines() if line)
    return EvalSet(f"the multilingual sample shipped with edgekit ({len(lines)} sentences)", texts=lines)


def sampled_pictures(count: int, height: int, width: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Deterministic pictures [height, width, 3]: coloured noise at several scales over gradients, with hard edges."""
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        canvas = np.zeros((height, width, 3))
        for cells in (2, 4, 8, 16):
            coarse = rng.normal(size=(cells, cells, 3))
            rows = np.arange(height) * cells // height
            columns = np.arange(width) * cells // width
            canvas += coarse[rows][:, columns] / cells**0.5
        top, left = rng.integers(0, max(1, height // 2)), rng.integers(0, max(1, width // 2))
        canvas[top : top + height // 3, left : left + width // 3] += rng.normal(size=3) * 2
        canvas += np.linspace(-1, 1, width)[None, :, None] * rng.normal(size=3)
        pictures.append(np.clip(127.5 + 50 * canvas, 0, 255).astype(np.uint8))
    return pictures


def sampled_arrays(model: SourceModel, count: int, seed: int = 0) -> tuple[Arrays, ...]:
    """Random inputs like the example inputs, or as the graph declares them; whole numbers between the extremes."""
    rng = np.random.default_rng(seed)
    examples = {name: np.asarray(example) for name, example in model.example_inputs.items()} or _of_graph(model, rng)
    return tuple({name: _like(example, rng) for name, example in examples.items()} for _ in range(count))


def _of_graph(model: SourceModel, rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
    """Examples for an ONNX file by its declared inputs: free axes are 1 long, floats normal, whole numbers 0 or 1."""
    from edgekit.strategies.onnx.graph import load, signatures

    if model.file is None:
        raise BadEvalData(f"{model.name} has neither example inputs nor an ONNX file", "give example_inputs")
    examples: dict[str, NDArray[np.generic]] = {}
    for each in signatures(load(model.file, weights=False))[0]:
        if each.dtype == "string":
            raise BadEvalData(f"input {each.name} of {model.name} takes strings", "only numeric inputs are drawn")
        shape = tuple(axis if isinstance(axis, int) else 1 for axis in each.shape)
        drawn = rng.normal(size=shape) if each.dtype.startswith("float") else rng.integers(0, 2, size=shape)
        if each.dtype.startswith(("int", "uint")) and drawn.size:
            drawn.flat[:2] = (0, 1)[: drawn.size]  # so that both extremes are among the examples
        examples[each.name] = drawn.astype(each.dtype)
    return examples


def _like(example: NDArray[np.generic], rng: np.random.Generator) -> NDArray[np.generic]:
    if example.dtype == np.bool_:
        return rng.integers(0, 2, size=example.shape).astype(np.bool_)
    if np.issubdtype(example.dtype, np.integer):
        low, high = int(np.min(example)), int(np.max(example))
        return rng.integers(low, high + 1, size=example.shape).astype(example.dtype)
    values = example.astype(np.float64)
    spread = float(values.std()) or 1.0
    drawn: NDArray[np.generic] = (values.mean() + spread * rng.normal(size=example.shape)).astype(example.dtype)
    return drawn


def read_eval(path: Path, model: SourceModel, mismatch: type[EdgekitError] = BadEvalData) -> EvalSet:
    """The user's rows from a .jsonl or .csv file, checked against the task and the model's labels.

    Columns: text and label (text classification); text, or text_a, text_b and score (embedding); tokens and labels
    (token classification); text (causal LM); image and label (image classification, paths beside the file). What is
    wrong is raised as BadEvalData, labels that do not match as `mismatch`.
    """
    task = model.task
    if task not in COLUMNS:
        raise BadEvalData(f"--eval is not read for task {task}", "leave it out; random inputs are used")
    rows = _rows(path)
    if not rows:
        raise BadEvalData(f"{path} has no rows", "give at least one row")
    if task == "embedding" and all(column in rows[0] for column in _PAIR_COLUMNS):
        return _pairs(path, rows)
    inputs, *label_columns = COLUMNS[task]
    _need(path, rows, inputs, task)
    origin = f"{path.name} ({len(rows)} rows)"
    labels = _labels(path, rows, label_columns, model, mismatch) if label_columns else None
    if task == "token-classification":
        words = tuple(_words(path, number, row[inputs]) for number, row in enumerate(rows, 1))
        return EvalSet(origin, words=words, labels=_aligned(path, words, labels, mismatch))
    values = tuple(_text(path, number, row[inputs], inputs) for number, row in enumerate(rows, 1))
    if task == "image-classification":
        _check_memory(path, len(values), model)
        arrays = tuple({"pixel_values": _picture(path.parent / value, model)} for value in values)
        return EvalSet(origin, arrays=arrays, labels=labels)
    return EvalSet(origin, texts=values, labels=labels)


def _rows(path: Path) -> list[dict[str, object]]:
    try:
        size_bytes = path.stat().st_size
    except OSError as error:
        raise BadEvalData(f"cannot read {path}: {error.strerror}", "give an existing .jsonl or .csv file") from error
    if size_bytes > _MAX_EVAL_BYTES:
        raise BadEvalData(f"{path} has {size_bytes} bytes, over {_MAX_EVAL_BYTES}", "give a sample of it")
    if path.suffix not in (".jsonl", ".csv"):
        raise BadEvalData(f"{path} is neither .jsonl nor .csv", "convert it to one of them")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadEvalData(f"{path} is not UTF-8 at byte {error.start}", "save it as UTF-8") from error
    if path.suffix == ".csv":
        try:
            return [dict(row) for row in csv.DictReader(io.StringIO(text, newline=""))]
        except csv.Error as error:
            raise BadEvalData(f"{path} is not CSV: {error}", "check its quotes") from error
    rows: list[dict[str, object]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadEvalData(f"{path}, line {number} is not JSON: {error}", "one JSON object a line") from error
        if not isinstance(row, dict):
            raise BadEvalData(f"{path}, line {number} is not an object", 'write {"text": ...}')
        rows.append(row)
    return rows


def _need(path: Path, rows: Sequence[Mapping[str, object]], column: str, task: Task) -> None:
    for number, row in enumerate(rows, 1):
        if row.get(column) is None:
            has = ", ".join(str(key) for key in row) or "nothing"
            raise BadEvalData(
                f"{path}, row {number} has no column {column} (it has {has})",
                f"{task} reads the columns {', '.join(COLUMNS[task])}",
            )


def _text(path: Path, number: int, value: object, column: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadEvalData(f"{path}, row {number}: {column} is {value!r}, not text", "drop the row or fill it")
    return value


def _words(path: Path, number: int, value: object) -> tuple[str, ...]:
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise BadEvalData(f"{path}, row {number}: tokens is {value!r}", "give a list of words")
    return tuple(words)


def _labels(
    path: Path,
    rows: Sequence[Mapping[str, object]],
    columns: Sequence[str],
    model: SourceModel,
    mismatch: type[EdgekitError],
) -> tuple[str, ...] | tuple[tuple[str, ...], ...] | None:
    """Labels by name, all or none; a whole number stands for the model's label of that index."""
    column = columns[0]
    if model.config.get("problem_type") == "multi_label_classification" and any(column in row for row in rows):
        raise mismatch(
            f"{path} labels rows for a model of independent labels", f"leave the column {column} out: agreement is told"
        )
    given = [row.get(column) is not None for row in rows]
    if not any(given):
        return None
    if not all(given):
        number = given.index(False) + 1
        raise mismatch(f"{path}, row {number} has no {column}, though others have", "label all rows or none")
    if model.task != "token-classification":
        return tuple(_label(path, number, row[column], model, mismatch) for number, row in enumerate(rows, 1))
    tagged = []
    for number, row in enumerate(rows, 1):
        tags = row[column]
        tags = tags.split() if isinstance(tags, str) else tags
        if not isinstance(tags, list):
            raise BadEvalData(f"{path}, row {number}: labels is {tags!r}", "give a list of labels")
        tagged.append(tuple(_label(path, number, tag, model, mismatch) for tag in tags))
    return tuple(tagged)


def _label(path: Path, number: int, value: object, model: SourceModel, mismatch: type[EdgekitError]) -> str:
    if isinstance(value, str) and value in model.labels:
        return value
    index = int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()) else -1
    if 0 <= index < len(model.labels):
        return model.labels[index]
    known = ", ".join(model.labels[:8]) + (", ..." if len(model.labels) > 8 else "")
    raise mismatch(f"{path}, row {number}: label {value!r} is not one of the model's", f"labels: {known}")


def _aligned(
    path: Path,
    words: tuple[tuple[str, ...], ...],
    labels: tuple[str, ...] | tuple[tuple[str, ...], ...] | None,
    mismatch: type[EdgekitError],
) -> tuple[tuple[str, ...], ...] | None:
    if labels is None:
        return None
    for number, (row_words, row_labels) in enumerate(zip(words, labels, strict=True), 1):
        if len(row_words) != len(row_labels):
            raise mismatch(
                f"{path}, row {number} has {len(row_words)} tokens and {len(row_labels)} labels", "one label a token"
            )
    return tuple(tuple(row) for row in labels)


def _pairs(path: Path, rows: Sequence[Mapping[str, object]]) -> EvalSet:
    texts: list[str] = []
    scores: list[float] = []
    for number, row in enumerate(rows, 1):
        texts += [_text(path, number, row.get(column), column) for column in _PAIR_COLUMNS[:2]]
        try:
            scores.append(float(str(row.get("score"))))
        except ValueError:
            scores.append(float("nan"))
        if not np.isfinite(scores[-1]):
            raise BadEvalData(f"{path}, row {number}: score is {row.get('score')!r}", "give a number")
    return EvalSet(f"{path.name} ({len(rows)} scored pairs)", texts=tuple(texts), pair_scores=tuple(scores))


def _check_memory(path: Path, count: int, model: SourceModel) -> None:
    """BadEvalData, before any is read, where memory does not hold so many: they are kept prepared, all at once."""
    free_bytes = _free_bytes()
    if model.image is None or free_bytes is None:
        return
    height, width = model.image.height, model.image.width
    each_bytes = 4 * 3 * height * width
    if count * each_bytes > free_bytes:
        raise BadEvalData(
            f"{path}: {count:,} pictures of {width} x {height} take {count * each_bytes / 2**20:,.0f} MiB of memory"
            f" once prepared, {free_bytes / 2**20:,.0f} MiB are free for them",
            f"give {free_bytes // each_bytes:,} rows or fewer, or free some memory",
        )


def _free_bytes(told: Path = Path("/proc/meminfo")) -> int | None:
    """Memory that pictures may take: three quarters of what the system says is available, and no more than an app may
    use of this machine or container; None where nobody tells. The rest is for the models and their training.
    """
    limits: list[int] = []
    with suppress(OSError):
        found = re.search(r"^MemAvailable:\s+(\d+) kB$", told.read_text(encoding="ascii"), re.MULTILINE)
        limits += [int(APP_SHARE * 1024 * int(found[1]))] if found is not None else []
    with suppress(UnknownDevice):
        if (budget := detect(measure=False).ram_budget_bytes) is not None:
            limits.append(budget)
    return min(limits, default=None)


def _picture(path: Path, model: SourceModel) -> NDArray[np.float32]:
    """A picture file as `pixel_values` [1, 3, height, width], prepared by the runtime's code: what ships."""
    if not path.is_file():
        raise BadEvalData(f"there is no picture {path}", "paths are read relative to the eval file")
    return _pixel_values(str(path), model)


def _pixel_values(picture: str | NDArray[np.uint8], model: SourceModel) -> NDArray[np.float32]:
    if model.image is None:
        raise BadEvalData(f"{model.name} says nothing about how pictures are prepared", "give from_torch an ImageSetup")
    use_python_runtime()
    from edgekit_runtime import RuntimeFailure, _image

    try:
        return _image.pixel_values([picture], {"image": vars(model.image)})
    except RuntimeFailure as error:
        raise BadEvalData(str(error), "give pictures that Pillow reads") from error
