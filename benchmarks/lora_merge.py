"""A LoRA trained here, merged and packed: what the bundle answers beside what the merged model does.

    EDGEKIT_TINYLM=DIR python benchmarks/lora_merge.py [--steps 80] [--json FILE]

PEFT trains a rank-16 adapter of the small language model in DIR on the synopses of Debian's packages, which the model
has never seen; `edgekit.pack` then gets the adapter's folder alone. On held-out synopses:

- the merged weights beside PEFT's own merge_and_unload, both in float32: the largest difference there is;
- the bundle's logits beside those of the merged model in torch, in F16 and in Q8_0: mean KL over next-token
  distributions, the largest difference between two logits, top-1 kept;
- perplexity of the base, of the adapter beside it, merged, and of the bundles.

Merged is compared twice: into a float32 copy of the base, which shows the merge alone, and into the base as it is
stored (bfloat16), which is what is deployed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from harness.corpora import package_descriptions, parted
from harness.machine import heading, machine
from harness.results import at_least, parser, verdict, write

import edgekit
from edgekit.grid import table
from edgekit.limits import Limits
from edgekit.model import open_model
from edgekit.resources import use_python_runtime
from edgekit.torch_model import load_torch

WINDOW_TOKENS = 128
BATCH = 4
HELD_OUT_WINDOWS = 24
RANK = 16
LOOSE = Limits(max_kl=5.0, min_top1=0.0, max_slowdown=1000.0)
MERGE_TOLERANCE = 1e-5
LOGIT_TOLERANCE = 0.1
Windows = npt.NDArray[np.int64]


def main(words: Sequence[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--steps", type=at_least(1), default=80, help="of training, each of 512 tokens")
    chosen = options.parse_args(words)
    named = os.environ.get("EDGEKIT_TINYLM")
    if named is None:
        raise SystemExit("EDGEKIT_TINYLM names no folder with a language model")
    facts = machine()
    print(heading(facts), file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="lora-merge-") as scratch:
        figures = measured(Path(named), Path(scratch), chosen.steps)
    print(shown(figures))
    write(chosen.json, {"machine": facts, **figures})


def measured(base: Path, scratch: Path, steps: int) -> dict[str, Any]:
    train, held_out = windows(base)
    adapter, trained = trained_adapter(base, scratch / "adapter", train, steps)
    held_out = held_out[:HELD_OUT_WINDOWS]
    beside = torch_logits(trained, held_out)
    figures: dict[str, Any] = {
        "trained": {"steps": steps, "windows": len(train), "rank": RANK, "tokens_held_out": int(held_out.size)},
        "perplexity": {
            "base": perplexity(torch_logits(load_torch(open_model(base)), held_out), held_out),
            "adapter beside the base": perplexity(beside, held_out),
        },
    }
    whole = float32_copy(base, scratch / "float32")
    exact = open_model(adapter, base=whole)
    figures["merge_max_difference"] = largest_difference(load_torch(exact), trained.merge_and_unload())
    figures["merged into float32"] = compared(torch_logits(load_torch(exact), held_out), beside)
    started = time.monotonic()
    deployed = open_model(adapter)
    figures["merge_seconds"] = time.monotonic() - started
    merged = torch_logits(load_torch(deployed), held_out)
    figures["perplexity"]["merged"] = perplexity(merged, held_out)
    figures["merged into bfloat16"] = compared(merged, beside)
    for preset in ("F16", "Q8_0"):
        out = scratch / preset
        edgekit.pack(adapter, "host", out=out, strategy=f"gguf-{preset}", limits=LOOSE, history="none")
        answers = bundle_logits(out, held_out)
        figures["perplexity"][f"bundle {preset}"] = perplexity(answers, held_out)
        figures[f"bundle {preset}"] = compared(answers, merged)
    return figures


def windows(base: Path) -> tuple[Windows, Windows]:
    """(to train on, held out): rows of WINDOW_TOKENS ids, of synopses joined by newlines."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.no_truncation()
    found = []
    for packages in parted(package_descriptions()):
        ids = tokenizer.encode("\n".join(f"{each.section}: {each.synopsis}" for each in packages)).ids
        count = len(ids) // WINDOW_TOKENS
        found.append(np.array(ids[: count * WINDOW_TOKENS], np.int64).reshape(count, WINDOW_TOKENS))
    return found[0], found[1]


def trained_adapter(base: Path, folder: Path, train: Windows, steps: int) -> tuple[Path, Any]:
    """The adapter's folder, and PEFT's model of it beside a float32 base."""
    import peft
    import torch
    import transformers

    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = peft.LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    wrapped = peft.get_peft_model(model, config)
    optimizer = torch.optim.AdamW([each for each in wrapped.parameters() if each.requires_grad], lr=2e-3)
    wrapped.train()
    started = time.monotonic()
    for batch in islice(batches(train), steps):
        ids = torch.from_numpy(batch)
        loss = wrapped(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    print(f"trained {steps} steps in {time.monotonic() - started:.0f} s, last loss {loss.item():.2f}", file=sys.stderr)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT would like to ask the hub whether the vocabulary grew
        wrapped.save_pretrained(folder)
    return folder, wrapped.eval()


def batches(train: Windows) -> Iterator[Windows]:
    random = np.random.default_rng(0)
    while True:
        yield train[random.integers(0, len(train), BATCH)]


def float32_copy(base: Path, folder: Path) -> Path:
    import torch
    import transformers

    transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((base / name).read_bytes())
    return folder


def largest_difference(one: Any, other: Any) -> float:
    theirs = dict(other.named_parameters())
    return max(float((value - theirs[name]).abs().max().detach()) for name, value in one.named_parameters())


def torch_logits(module: Any, held_out: Windows) -> npt.NDArray[np.float32]:
    """[windows, tokens, vocabulary]"""
    import torch

    with torch.no_grad():
        rows = [module(input_ids=torch.from_numpy(each[None])).logits[0].numpy() for each in held_out]
    return np.stack(rows)


def bundle_logits(bundle: Path, held_out: Windows) -> npt.NDArray[np.float32]:
    use_python_runtime()
    import edgekit_runtime

    with edgekit_runtime.open(bundle) as session:
        return np.stack([session.logits(each.tolist()) for each in held_out])


def log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))


def perplexity(logits: npt.NDArray[np.float32], held_out: Windows) -> float:
    found = np.take_along_axis(log_softmax(logits[:, :-1]), held_out[:, 1:, None], axis=-1)
    return float(np.exp(-found.mean()))


def compared(answers: npt.NDArray[np.float32], truth: npt.NDArray[np.float32]) -> dict[str, float]:
    ours, theirs = log_softmax(answers), log_softmax(truth)
    kl = (np.exp(theirs) * (theirs - ours)).sum(axis=-1)
    return {
        "mean_kl": float(kl.mean()),
        "max_kl": float(kl.max()),
        "max_logit_difference": float(np.abs(answers - truth).max()),
        "mean_logit_difference": float(np.abs(answers - truth).mean()),
        "logit_range": float(truth.max() - truth.min()),
        "top1_kept": float((ours.argmax(axis=-1) == theirs.argmax(axis=-1)).mean()),
    }


def shown(figures: Mapping[str, Any]) -> str:
    against = {
        "merged into float32": "the adapter beside the base",
        "merged into bfloat16": "the adapter beside the base",
        "bundle F16": "merged, in torch",
        "bundle Q8_0": "merged, in torch",
    }
    rows = [
        (
            name,
            other,
            f"{figures[name]['mean_kl']:.2g}",
            f"{figures[name]['max_logit_difference']:.2g} of {figures[name]['logit_range']:.0f}",
            f"{figures[name]['top1_kept']:.2%}",
        )
        for name, other in against.items()
    ]
    told = table(("answers", "compared with", "mean KL", "largest logit difference", "top-1 kept"), rows)
    perplexities = table(("perplexity", ""), [(k, f"{v:.2f}") for k, v in figures["perplexity"].items()])
    same = figures["merge_max_difference"] <= MERGE_TOLERANCE
    close = figures["bundle F16"]["max_logit_difference"] <= LOGIT_TOLERANCE
    return (
        f"{told}\n\n{perplexities}\n\nlargest difference to PEFT's merged weights, float32:"
        f" {figures['merge_max_difference']:.2g} (at most {MERGE_TOLERANCE:g}: {verdict(same)})\n"
        f"F16 bundle's logits are the merged model's within {LOGIT_TOLERANCE:g}: {verdict(close)}\n"
        f"merging took {figures['merge_seconds']:.1f} s"
    )


if __name__ == "__main__":
    main()
