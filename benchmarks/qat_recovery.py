"""How much of what rounding takes comes back when a model is trained for it: QAT against plain quantization.

    python benchmarks/qat_recovery.py [--only int8|q4_0] [--budget SECONDS] [--windows N] [--json FILE]

int8: all-MiniLM-L6-v2 on the descriptions of Debian's packages (`apt-get update` first). Q4_0: the decoder in
EDGEKIT_TINYLM on the sources of Python's library; its held-out text is eval.txt beside it. Each is packed by its
strategy as it is and after `edgekit qat`, and asked on its real engine (ONNX Runtime, llama.cpp) for text that training
never saw: 1 - cosine of embeddings, KL of next tokens to the float model. Aim: at least half of the loss comes back.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from fixtures.gguf_engine import Floats, log_probabilities, log_softmax
from harness.corpora import library_pieces, package_descriptions, parted, spaced
from harness.outcomes import seconds
from harness.results import at_least, minilm, parser, verdict, write

from edgekit.limits import Limits, Preferences
from edgekit.model import SourceModel, open_model
from edgekit.progress import watch
from edgekit.quantaware.comparison import Recovery, recovered
from edgekit.quantaware.deployed import Deployment
from edgekit.quantaware.story import qat
from edgekit.torch_model import load_tokenizer, load_torch

AIM = 0.5
ROWS = {"onnx-int8": 3_000, "gguf-Q4_0": 1_600}
_HELD_OUT_TEXTS = 400
_WINDOWS, _WINDOW = 24, 256
_PIECE_CHARACTERS = 700


@dataclass(frozen=True)
class Row:
    """`in_engine` by the engine's own answers, `in_torch` as `edgekit qat` tells it, of its own held-out rows.
    `same_types` is what plain quantization loses where every tensor has the type that it has in the trained file.
    """

    deployment: Deployment
    engine: str
    in_engine: Recovery
    in_torch: Recovery
    steps: int
    train_s: float
    same_types: float | None = None

    @property
    def held(self) -> bool:
        return self.in_engine.share >= AIM


Losses = Callable[[SourceModel, Path], Floats]


def int8(scratch: Path, budget_s: float) -> Row:
    """Sentences one at a time, as an app asks."""
    train, held_out = parted(package_descriptions())
    data = _rows(scratch / "train.jsonl", [each.synopsis for each in spaced(train, ROWS["onnx-int8"])])
    model = open_model(minilm())
    texts = [each.synopsis for each in spaced(held_out, _HELD_OUT_TEXTS)]
    reference = _torch_embeddings(model, texts)

    def losses(packed: SourceModel, folder: Path) -> Floats:
        found = _onnx_embeddings(packed, folder, texts)
        return 1 - np.sum(found * reference, axis=1)

    return _compared("onnx-int8", "ONNX Runtime", model, data, scratch, budget_s, losses)


def q4_0(scratch: Path, budget_s: float, count: int) -> Row:
    """`count` windows of the held-out text, teacher-forced."""
    folder = Path(os.environ.get("EDGEKIT_TINYLM") or sys.exit("EDGEKIT_TINYLM names no folder with a decoder"))
    text = (folder / "eval.txt").read_text(encoding="utf-8")
    data = _rows(scratch / "train.jsonl", spaced(library_pieces(text, _PIECE_CHARACTERS), ROWS["gguf-Q4_0"]))
    model = open_model(folder)
    ids = list(load_tokenizer(model).encode(text).ids)
    windows = [ids[at : at + _WINDOW] for at in range(0, _WINDOW * count, _WINDOW)]
    reference = _torch_log_probabilities(model, windows)

    def losses(packed: SourceModel, folder: Path) -> Floats:
        return _kl_of_gguf(packed, folder, packed, windows, reference)

    row = _compared("gguf-Q4_0", "llama.cpp", model, data, scratch, budget_s, losses)
    same = _kl_of_gguf(model, scratch / "same", open_model(scratch / "trained"), windows, reference)
    return replace(row, same_types=float(same.mean()))


def _compared(
    deployment: Deployment, engine: str, model: SourceModel, data: Path, scratch: Path, budget_s: float, losses: Losses
) -> Row:
    plain = losses(model, scratch / "plain")
    with watch() as progress:
        made = qat(model, deployment, data, budget_s=budget_s, out=scratch / "trained", progress=progress)
    trained = losses(open_model(made.folder), scratch / "packed")
    measure = made.record.recovered.measure
    found = recovered(np.stack([plain, trained]), measure)
    return Row(deployment, engine, found, made.record.recovered, made.record.steps, made.record.seconds)


def _rows(path: Path, texts: Sequence[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def _torch_embeddings(model: SourceModel, texts: Sequence[str]) -> Any:
    import torch

    from edgekit.training.tasks import answers

    module, found = load_torch(model), []
    with torch.no_grad():
        for inputs in _encoded(model, texts):
            tensors = {name: torch.from_numpy(each) for name, each in inputs.items()}
            answer = answers(module, "embedding", tensors, pooling=model.pooling, normalize=model.normalize).embedding
            assert answer is not None
            found.append(answer[0].double().numpy())
    return np.stack(found)


def _encoded(model: SourceModel, texts: Sequence[str]) -> list[dict[str, Any]]:
    tokenizer = load_tokenizer(model)
    assert model.text is not None
    tokenizer.enable_truncation(model.text.max_tokens)
    found = []
    for text in texts:
        ids = np.array([tokenizer.encode(text).ids], np.int64)
        found.append({"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)})
    return found


def _onnx_embeddings(model: SourceModel, folder: Path, texts: Sequence[str]) -> Any:
    """Packed for the host, as `edgekit pack --strategy onnx-int8` does."""
    from edgekit.device import load_profile
    from edgekit.progress import Silent
    from edgekit.setting import setting_for
    from edgekit.strategies import load
    from edgekit.strategies.onnx.engine import session

    device = load_profile("host")
    strategy = load("onnx-int8")
    (candidate,) = strategy.propose(model, setting_for(device, Limits(), Preferences()))
    folder.mkdir()
    made = strategy.make(candidate, model, device, folder, Silent())
    running = session(made.folder / made.model_file, threads=1)
    names = {each.name for each in running.get_inputs()}
    outputs = [each.name for each in running.get_outputs()]
    at = outputs.index("sentence_embedding")
    rows = [
        running.run(None, {name: each for name, each in inputs.items() if name in names})[at][0]
        for inputs in _encoded(model, texts)
    ]
    found = np.stack(rows).astype(np.float64)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def _torch_log_probabilities(model: SourceModel, windows: Sequence[Sequence[int]]) -> list[Floats]:
    import torch

    module = load_torch(model)
    with torch.no_grad():
        return [log_softmax(module(torch.tensor([window])).logits[0].double().numpy()) for window in windows]


def _kl_of_gguf(
    model: SourceModel,
    folder: Path,
    typed: SourceModel,
    windows: Sequence[Sequence[int]],
    reference: Sequence[Floats],
) -> Floats:
    """Of each window: `model` written as Q4_0, every tensor by the type that it would have in `typed`'s file."""
    from edgekit.strategies.gguf import write_gguf
    from edgekit.strategies.gguf.architecture import lay_out
    from edgekit.strategies.gguf.offers import choice_of
    from edgekit.strategies.gguf.presets import preset_of

    layout = lay_out(typed)
    choice = choice_of(layout, preset_of({"preset": "Q4_0", "rest": "Q8_0"}, layout.targets))
    types = {target.name: choice(target) for target in layout.targets}
    folder.mkdir()
    path = folder / "model.gguf"
    write_gguf(model, path, "Q4_0", choice=lambda target: types[target.name])
    found = []
    for wanted, window in zip(reference, windows, strict=True):
        difference = wanted - log_probabilities(path, window)
        found.append(float((np.exp(wanted) * difference).sum(axis=1).mean()))
    return np.array(found)


def table(row: Row) -> str:
    def line(name: str, each: Recovery) -> str:
        return (
            f"  {name:<28}{each.plain:>10.5f}{each.trained:>10.5f}{each.share:>10.0%}   "
            f"{each.low:.0%} to {each.high:.0%}   {each.rows} held out"
        )

    lines = [
        f"{row.deployment}: {row.in_engine.measure} to the float model; {row.steps} steps in {row.train_s:.0f} s",
        f"  {'':<28}{'plain':>10}{'trained':>10}{'came back':>10}   95 %",
        line(f"on {row.engine}", row.in_engine),
        line("in torch, as deployed", row.in_torch),
    ]
    if row.same_types is not None:
        share = 1 - row.in_engine.trained / row.same_types
        lines.append(f"  {'plain, the same types':<28}{row.same_types:>10.5f}{'':>10}{share:>10.0%}")
    lines.append(f"  at least {AIM:.0%} comes back on {row.engine}: {verdict(row.held)}")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--only", choices=("int8", "q4_0"))
    arguments.add_argument("--budget", type=seconds, default=240.0, metavar="SECONDS", help="of each training")
    arguments.add_argument("--windows", type=at_least(2), default=_WINDOWS, metavar="N", help="held out, for Q4_0")
    given = arguments.parse_args(words)
    found = []
    for name, measure in {"int8": int8, "q4_0": partial(q4_0, count=given.windows)}.items():
        if given.only in (None, name):
            with tempfile.TemporaryDirectory(prefix="qat-recovery-") as scratch:
                found.append(measure(Path(scratch), given.budget))
            print(table(found[-1]), flush=True)
    write(given.json, {"rows": found})
    return 0 if all(row.held for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
