"""A classifier trained on labels by edgekit's own loop, and how much worse another is, with its interval."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgekit
from edgekit.distilling.bootstrap import of_sums
from edgekit.model import Training
from edgekit.progress import watch
from edgekit.quiet import quiet_transformers
from edgekit.training.batches import Batch, Data, split
from edgekit.training.loop import Recipe, train
from edgekit.training.losses import label_loss
from edgekit.training.tasks import encoded, pad_id

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
RECIPE = Recipe(learning_rate=1e-4, batch_size=32, epochs=3, dropout=True)
MOST_TOKENS = 128


def fine_tuned(
    body: Path, rows: Sequence[Mapping[str, str]], labels: Sequence[str], budget_s: float, folder: Path, seed: int = 0
) -> Path:
    """`body` with a head for `labels`, trained on rows of "text" and "label" and saved in the new folder `folder`."""
    import torch
    import transformers

    torch.manual_seed(seed)
    with quiet_transformers():
        module: Any = transformers.AutoModelForSequenceClassification.from_pretrained(
            body,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
            dtype=torch.float32,
            attn_implementation="eager",
            local_files_only=True,
        )
        module.save_pretrained(folder)
    for name in _TOKENIZER:
        if (body / name).is_file():
            shutil.copyfile(body / name, folder / name)
    model = edgekit.open_model(folder)
    training = Training(
        "package descriptions", texts=tuple(row["text"] for row in rows), labels=tuple(row["label"] for row in rows)
    )
    examples, truth = encoded(model, training, MOST_TOKENS)
    parts = split(len(rows), seed, training.texts)
    everything = np.concatenate([parts.train, parts.held_out])  # what is measured on was kept apart before

    def loss(student: torch.nn.Module, batch: Batch) -> torch.Tensor:
        assert batch.labels is not None
        return label_loss(student(**batch.inputs).logits, batch.labels)

    recipe = Recipe(**{**RECIPE.as_dict(), "budget_s": budget_s, "seed": seed})  # type: ignore[arg-type]
    with watch() as progress:
        train(
            module, loss, Data(examples, everything, parts.validation, pad_id(model), truth), recipe, progress=progress
        )
    with quiet_transformers():
        module.save_pretrained(folder)
    return folder


def drop(teacher: NDArray[np.bool_], student: NDArray[np.bool_]) -> dict[str, float]:
    """How much more often the teacher is right, and where that lies in 95 % of the resamples of the texts."""
    lost = teacher.astype(np.float64) - student
    found = of_sums(np.stack([lost, np.ones_like(lost)], axis=1), lambda sums: sums[..., 0] / sums[..., 1])
    return {"drop": found.value, "drop_low": found.low, "drop_high": found.high}
