"""The bundle's contract, `edgekit.json`: pydantic at the border, whence the JSON Schema for the runtimes' tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1
MANIFEST_NAME = "edgekit.json"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# Relative, forward slashes, no "." or ".." step, no drive, no backslash, no control character.
_STEP = r"(?:[^./\\:\x00-\x1f][^/\\:\x00-\x1f]*|\.[^./\\:\x00-\x1f][^/\\:\x00-\x1f]*|\.\.[^/\\:\x00-\x1f]+)"
BundlePath = Annotated[str, Field(pattern=rf"^{_STEP}(?:/{_STEP})*$", max_length=512)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(_Strict):
    path: BundlePath
    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256


class Signature(_Strict):
    name: str
    dtype: str
    shape: tuple[int | str, ...]


class TextSpec(_Strict):
    """`tokenizer` is null where the engine's own vocabulary was proven to give the same ids (llama.cpp); text is
    brought to `unicode_form` before the engine sees it.
    """

    tokenizer: BundlePath | None
    max_tokens: Annotated[int, Field(ge=1)]
    unicode_form: Literal["NFC"] | None = None


class ImageSpec(_Strict):
    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rescale: float
    resample: int
    shortest_edge: int | None


class EmbeddingSpec(_Strict):
    pooling: Literal["mean", "cls", "max", "last"]
    normalize: bool
    width: Annotated[int, Field(ge=1)]


class Turn(_Strict):
    """What stands before and after a message's content."""

    before: str
    after: str


class ChatFormat(_Strict):
    """A chat template that is no more than a string of turns, for runtimes without Jinja. See docs/manifest.md."""

    start: str
    no_system: str
    turns: dict[Literal["system", "user", "assistant"], Turn]
    answer: str
    strip: bool


class GenerationSpec(_Strict):
    context_tokens: Annotated[int, Field(ge=1)]
    eos_token_ids: tuple[int, ...]
    chat_template: BundlePath | None
    chat_format: ChatFormat | None = None


class Memory(_Strict):
    """Bytes, measured; null where they were not. `kv_bytes` is computed from the shape of the cache."""

    file_bytes: int
    anonymous_bytes: int | None
    kv_bytes: int
    peak_rss_bytes: int | None
    measured_on: str | None


class Device(_Strict):
    name: str
    title: str
    ram_budget_bytes: int | None
    threads: Annotated[int, Field(ge=1)] | None = None


class Tried(_Strict):
    candidate: str
    passed: bool
    missed: tuple[str, ...]


class Rejected(_Strict):
    candidate: str
    reason: str
    measured: float | None
    limit: float | None
    unit: str
    remedy: str


class Interval(_Strict):
    """An estimate: never a measurement."""

    low: float
    high: float


class Considered(_Strict):
    """A candidate with what it was expected to cost on the device, null where there were no grounds to say.

    `latency_ms` is of one input of 128 tokens, or of the one size there is; `tokens_per_s` is of decoding.
    """

    candidate: str
    disk_bytes: Interval | None
    ram_bytes: Interval | None
    latency_ms: Interval | None
    tokens_per_s: Interval | None


class PlanSummary(_Strict):
    """What was planned and what came of it. `considered` holds every candidate, also the rejected, with its estimates;
    `remarks` what the planner knew of this model on this device; `advice` what would fit where nothing did.
    """

    chosen: str
    tried: tuple[Tried, ...]
    rejected: tuple[Rejected, ...]
    considered: tuple[Considered, ...] = ()
    prefer: Literal["accuracy", "speed", "size"] | None = None
    sensitivity: Literal["normal", "high"] = "normal"
    remarks: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


def at_home(source: str) -> str:
    """A path below the user's home folder as "~/...": a bundle is given away, and whose home that was is nobody's
    business. `validate` finds the model by it, here and wherever it lies at the same place.
    """
    home = str(Path("~").expanduser()).rstrip("/")
    return f"~/{source[len(home) + 1 :]}" if home and source.startswith(f"{home}/") else source


def from_home(source: str) -> str:
    """What `at_home` made of a path, as a path again."""
    return str(Path(source).expanduser()) if source.startswith("~/") else source


class Ingredient(_Strict):
    """What a merged model was made of: an adapter, or the base. `weight` is the adapter's beside others."""

    source: str
    revision: str | None
    sha256: Sha256
    weight: float = 1.0


class MergedFrom(_Strict):
    base: Ingredient
    adapters: tuple[Ingredient, ...]
    combination: Literal["cat", "linear"] = "cat"


class Provenance(_Strict):
    """`merged` is there where the source was an adapter; `source_sha256` is then over its and the base's digests.
    `trained_on` names the rows where what was packed is a student, trained to answer as the source does.
    """

    source: str
    revision: str | None
    source_sha256: Sha256
    licence: str | None
    tools: dict[str, str]
    created_utc: str
    merged: MergedFrom | None = None
    trained_on: str | None = None


class Manifest(_Strict):
    """Everything a runtime or an app must know before it opens the model. See docs/manifest.md."""

    schema_version: Literal[1] = 1
    name: str
    task: Literal[
        "embedding", "text-classification", "token-classification", "causal-lm", "image-classification", "tensors"
    ]
    kind: Literal["base", "chat", "embedding", "classifier", "module"]
    engine: Literal["onnxruntime", "llama.cpp"]
    strategy: str
    status: Literal["passed", "failed"]
    model_file: BundlePath
    files: tuple[FileEntry, ...]
    inputs: tuple[Signature, ...]
    outputs: tuple[Signature, ...]
    text: TextSpec | None
    image: ImageSpec | None
    labels: tuple[str, ...]
    problem_type: Literal["single_label_classification", "multi_label_classification"] | None = None
    embedding: EmbeddingSpec | None
    generation: GenerationSpec | None
    min_isa: dict[str, tuple[str, ...]]
    memory: Memory
    device: Device
    plan: PlanSummary
    provenance: Provenance
    limits: dict[str, int | float | None]

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def schema() -> str:
    """The manifest's JSON Schema (draft 2020-12), as shipped in edgekit/data/edgekit.schema.json."""
    return json.dumps(Manifest.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def schema_path() -> Path:
    return Path(__file__).resolve().parent / "data" / "edgekit.schema.json"


if __name__ == "__main__":
    schema_path().write_text(schema(), encoding="utf-8")
