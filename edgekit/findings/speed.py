"""Rows of times and speeds, and what they are compared with."""

from __future__ import annotations

import statistics

from edgekit.findings.rows import row
from edgekit.limits import Limits
from edgekit.measure import Measurement
from edgekit.report import Row
from edgekit.strategies import FP32_BITS, Candidate
from edgekit.validation import Examined


def speed_rows(task: str, examined: Examined, candidate: Candidate | None, limits: Limits, where: str) -> list[Row]:
    figure = examined.measurement.figure
    runs = len(own_ms(task, examined.measurement))
    where = f"{where}; {examined.original.questions.latency_told}, {runs} timings"
    rows = [
        row("load time", "ms", figure("load_ms"), where),
        row("first inference", "ms", figure("first_ms"), where),
    ]
    if task == "causal-lm":
        speed = candidate.tokens_per_s if candidate else None
        ttft = next(iter(candidate.ttft_at.values()), None) if candidate else None
        prefill = candidate.prefill_tokens_per_s if candidate else None
        rows += [
            row("time to first token", "ms", figure("ttft_ms"), where, estimate=ttft),
            row("prefill speed", "tokens/s", figure("prefill_tokens_per_s"), where, estimate=prefill),
            row(
                "decode speed",
                "tokens/s",
                figure("decode_tokens_per_s"),
                where,
                "min",
                limits.min_tokens_per_s,
                "min_tokens_per_s",
                speed,
            ),
        ]
    else:
        latency = candidate.latency_ms if candidate else None
        rows += [
            row("latency p50", "ms", figure("p50_ms"), where, "max", limits.max_latency_ms, "max_latency_ms", latency),
            row("latency p90", "ms", figure("p90_ms"), where),
            row("latency p99", "ms", figure("p99_ms"), where),
        ]
    ratio = _slowdown(task, examined)
    if ratio is not None:
        gate = limits.max_slowdown if _is_made(candidate) else None
        rows.append(row("latency over fp32", "x", ratio, where, "max", gate, "max_slowdown"))
    return rows


def _is_made(candidate: Candidate | None) -> bool:
    """Whether the bundle is another model than the original: not the fp32 fallback, nor a file bundled as it is.

    Of those the ratio to the original is told, and nothing is asked of it.
    """
    return candidate is not None and candidate.faithfulness < FP32_BITS and "as-is" not in candidate.options.values()


def _slowdown(task: str, examined: Examined) -> float | None:
    """Median latency of the bundle over the fp32 original's; None where the bundle is the fp32 original."""
    measurement = examined.measurement
    baseline = measurement.samples("baseline_latency_ms") or (
        tuple(examined.original.ms) if examined.target.kind == "local" else ()
    )
    own = measurement.samples("paired_latency_ms") or own_ms(task, measurement)
    if not baseline or not own:
        return None
    return statistics.median(own) / statistics.median(baseline)


def own_ms(task: str, measurement: Measurement) -> tuple[float, ...]:
    return measurement.samples("decode_ms" if task == "causal-lm" else "latency_ms")


def baseline_told(examined: Examined) -> str:
    """What speed was held against, empty where it was not."""
    if not examined.target.times:
        return ""
    if examined.measurement.samples("baseline_latency_ms"):
        return "the fp32 model in the same engine, timed in turn with the bundle"
    if examined.target.kind != "local":
        return ""
    return f"{examined.original.description}, timed before the bundle on the same machine"
