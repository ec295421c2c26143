"""Results that another machine wrote: input from outside, held against the job before anything reads it."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekit.errors import BadReport
from edgekit.errors import plain as plain
from edgekit.manifest import Manifest

MAX_RESULT_BYTES = 32 * 2**20
MAX_ARRAY_BYTES = 4 * 2**30
_MAX_OUTPUTS = 256
# What numpy and zipfile raise for bytes that are no array: no class of their own.
UNREADABLE = (OSError, ValueError, TypeError, LookupError, RuntimeError, MemoryError, EOFError, zipfile.BadZipFile)

Figure = Annotated[float, Field(ge=0, le=1e18, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=2**60)]
Word = Annotated[str, Field(max_length=500)]
Samples = Annotated[tuple[Figure, ...], Field(max_length=1_000_000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, arbitrary_types_allowed=False)


class _Golden(_Strict):
    name: Word
    passed: bool
    difference: Annotated[float, Field(allow_inf_nan=False)] | None
    tolerance: Figure | None


class _Result(_Strict):
    """The keys of result.json that edgekit reads (docs/manifest.md); no other is kept."""

    verify_ms: Figure
    load_ms: Figure
    first_ms: Figure | None = None
    latency_ms: Samples = ()
    p50_ms: Figure | None = None
    p90_ms: Figure | None = None
    p99_ms: Figure | None = None
    prompt_tokens: Count | None = None
    ttft_samples_ms: Samples = ()
    ttft_ms: Figure | None = None
    prefill_tokens_per_s: Figure | None = None
    decode_ms: Samples = ()
    decode_tokens_per_s: Figure | None = None
    peak_rss_bytes: Count | None = None
    anonymous_bytes: Count | None = None
    file_rss_bytes: Count | None = None
    bundle_rss_bytes: Count | None = None
    token_ids: Annotated[tuple[tuple[Count, ...], ...], Field(max_length=10_000)] = ()
    goldens: Annotated[tuple[_Golden, ...], Field(max_length=10_000)] = ()
    paired_latency_ms: Samples = ()
    baseline_latency_ms: Samples = ()
    model_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    cpu: Word | None
    arch: Word
    isa: Annotated[tuple[Word, ...], Field(max_length=256)] | None
    system: Word
    threads: Annotated[int, Field(ge=1, le=4096)]
    engine: Word
    python: Word
    libraries: Annotated[dict[Word, Word], Field(max_length=64)]
    modules: Annotated[tuple[Word, ...], Field(max_length=10_000)] = ()
    notes: Annotated[tuple[Word, ...], Field(max_length=64)] = ()
    cores: Count | None = None
    ram_total_bytes: Count | None = None
    cpu_parts: Annotated[tuple[Word, ...], Field(max_length=4096)] = ()


def expected(manifest: Manifest, job: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the arrays that the probe writes for `job`."""
    fidelity = job.get("fidelity") or {}
    count = max((len(fidelity.get(kind) or ()) for kind in ("texts", "ids", "npz")), default=0)
    if manifest.task == "embedding" and count:
        return ("embeddings.npy",)
    shape = "logits-{}.npy" if manifest.task == "causal-lm" else "outputs-{}.npz"
    return tuple(shape.format(index) for index in range(count))


def check(folder: Path, manifest: Manifest, job: Mapping[str, Any], place: str) -> None:
    """BadReport unless `folder` holds a result of this bundle and its arrays; result.json is written anew, without
    what no probe says. `place` is the target's name.
    """
    result = _read(folder / "result.json", place)
    packed = next(entry.sha256 for entry in manifest.files if entry.path == manifest.model_file)
    if result.model_sha256 != packed:
        raise BadReport(
            f"{place} measured another model: its file has sha256 {result.model_sha256[:12]}...,"
            f" the bundle's {packed[:12]}...",
            "run again; if it happens again, edgekit targets clean " + place,
        )
    asked = len(job.get("tokenize") or ())
    if len(result.token_ids) != asked:
        raise BadReport(f"{place} sent the token ids of {len(result.token_ids)} texts, {asked} were asked", "run again")
    fidelity = job.get("fidelity") or {}
    for index, name in enumerate(expected(manifest, job)):
        rows = len(fidelity.get("texts") or ()) if name == "embeddings.npy" else None
        if name.startswith("logits-") and fidelity.get("ids"):
            rows = len(fidelity["ids"][index])
        try:
            _check_arrays(folder / name, rows)
        except UNREADABLE as error:
            raise BadReport(f"{place} sent {name}, which is no array: {plain(str(error))[:200]}") from error
    if job.get("threads") and result.threads < int(job["threads"]):
        note = f"{place} has cores for {result.threads} threads, {job['threads']} were asked"
        result = result.model_copy(update={"notes": (*result.notes, note)})
    (folder / "result.json").write_text(result.model_dump_json(exclude_unset=True), encoding="utf-8")


def _read(path: Path, place: str) -> _Result:
    try:
        document = json.loads(path.read_bytes(), parse_constant=_no_constant)
        result = _Result.model_validate_json(json.dumps(without_controls(document)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadReport(f"{place} sent a result that is none: {where}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise BadReport(f"{place} sent a result that is none: {plain(str(error))[:200]}") from error
    return result


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def without_controls(value: Any) -> Any:
    """Plain values, every text in them by `plain`."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list):
        return [without_controls(each) for each in value]
    if isinstance(value, dict):
        return {plain(key): without_controls(each) for key, each in value.items()}
    return value


def _check_arrays(path: Path, rows: int | None) -> None:
    """ValueError unless the file is one .npy matrix, of `rows` if they are known, or a .npz of arrays stored as they
    are; each of the size that its shape claims.
    """
    if path.suffix == ".npy":
        with path.open("rb") as file:
            shape = _check_array(file, path.stat().st_size)
        if len(shape) != 2 or shape[0] != (shape[0] if rows is None else rows):
            raise ValueError(f"its shape is {shape}")
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if not 0 < len(entries) <= _MAX_OUTPUTS:
            raise ValueError(f"it holds {len(entries)} arrays")
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED or not entry.filename.endswith(".npy"):
                raise ValueError(f"{entry.filename} is not stored as the probe stores arrays")
            with archive.open(entry) as file:
                if not _check_array(file, entry.file_size):
                    raise ValueError(f"{entry.filename} is a single number")


def _check_array(file: Any, size_bytes: int) -> tuple[int, ...]:
    """The shape of the array that the file holds."""
    from numpy.lib import format as npy

    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise ValueError(f"its numbers are {dtype}")
    if any(length < 0 for length in shape) or file.tell() + math.prod(shape) * dtype.itemsize != size_bytes:
        raise ValueError(f"its shape {shape} does not fit its {size_bytes} bytes")
    return tuple(shape)
