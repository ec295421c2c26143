from __future__ import annotations

import math
from dataclasses import replace

import pytest
from fixtures.costing import ENGINE, machine, measured, observation, row, setting
from fixtures.devices import device
from hypothesis import assume, given
from hypothesis import strategies as st

from edgekit.costs import Estimate, MemoryTerm, Setting, Term
from edgekit.costs.rates import rate
from edgekit.costs.roofline import combine, memory, seconds
from edgekit.device.profile import MemoryBandwidth

PRODUCTS = Term("products", 4e9, "flops")
WEIGHTS = Term("weights", 80e6, "bytes")
CALLS = Term("calls", 100, "seconds")
FACTORS = {"products": 2.0, "weights": 1.5, "calls": 1e-5}


def estimate(*terms: Term, given: Setting | None = None) -> Estimate:
    found = seconds(terms, ENGINE, "encode", given or setting(row(FACTORS)))
    assert found is not None
    return found


def test_computing_alone_is_operations_over_the_rate_times_the_factor() -> None:
    assert combine([PRODUCTS], FACTORS, {"flops": 100e9}) == pytest.approx(0.08)


def test_reading_hides_behind_computing() -> None:
    rates = {"flops": 100e9, "bytes": 10e9}
    assert combine([PRODUCTS, WEIGHTS], FACTORS, rates) == pytest.approx((0.08**4 + 0.012**4) ** 0.25)
    assert combine([PRODUCTS, WEIGHTS], FACTORS, rates) == pytest.approx(0.08, rel=1e-3)


def test_equal_halves_cost_a_little_more_than_one() -> None:
    rates = {"flops": 100e9, "bytes": 1.5e9}
    assert combine([PRODUCTS, WEIGHTS], FACTORS, rates) == pytest.approx(0.08 * 2**0.25)


def test_calls_come_on_top() -> None:
    assert combine([PRODUCTS, CALLS], FACTORS, {"flops": 100e9}) == pytest.approx(0.08 + 1e-3)
    assert combine([CALLS], FACTORS, {}) == pytest.approx(1e-3)


def test_durations_that_no_power_of_four_holds() -> None:
    assert combine([Term("products", 1e308, "flops")], FACTORS, {"flops": 1.0}) == math.inf
    assert combine([Term("products", 1e300, "flops")], FACTORS, {"flops": 1.0}) == pytest.approx(2e300)
    assert combine([Term("products", 1e-200, "flops")], FACTORS, {"flops": 1.0}) == pytest.approx(2e-200)


def test_an_estimate_is_the_combination_within_the_rows_interval() -> None:
    found = estimate(PRODUCTS)
    assert (found.low, found.high) == pytest.approx((0.08 * 0.8, 0.08 * 1.25))
    assert found.mid == pytest.approx(0.08)
    assert found.basis == "roofline of fp32 throughput of 100.0 Gop/s (measured); factors measured on avx512_vnni"
    assert found.leans_on == ("onnxruntime encode on avx512_vnni: 12 points, by hand",)


def test_one_thread_takes_its_own_bandwidth() -> None:
    one = estimate(WEIGHTS, given=setting(row(FACTORS), threads=1))
    assert one.mid == pytest.approx(1.5 * 80e6 / 5e9)


def test_fixed_costs_alone_need_no_rate() -> None:
    found = estimate(CALLS, given=setting(row(FACTORS), profile=device("avx512_vnni")))
    assert found.mid == pytest.approx(1e-3)
    assert "fixed costs" in found.basis


@pytest.mark.parametrize(
    ("terms", "given"),
    [
        ([PRODUCTS], setting()),
        ([PRODUCTS], setting(row(FACTORS, "decode"))),
        ([PRODUCTS], setting(row(FACTORS, engine="llama.cpp"))),
        ([PRODUCTS], setting(row({"weights": 1.0}))),
        ([PRODUCTS], setting(row(FACTORS), profile=device("avx512_vnni"))),
        ([], setting(row(FACTORS))),
        ([Term("products", 0.0, "flops")], setting(row(FACTORS))),
        ([Term("products", 1e308, "flops")], setting(row({"products": 1e10}))),
    ],
    ids=["no table", "no phase", "no engine", "no factor", "no rate", "no work", "zero work", "overflow"],
)
def test_without_grounds_there_is_no_estimate(terms: list[Term], given: Setting) -> None:
    assert seconds(terms, ENGINE, "encode", given) is None


def test_a_term_without_work_needs_no_factor() -> None:
    assert estimate(PRODUCTS, Term("never measured", 0.0, "bytes")).mid == pytest.approx(0.08)


def test_factors_of_another_isa_are_carried_over_and_doubt_themselves() -> None:
    found = estimate(PRODUCTS, given=setting(row(FACTORS), profile=machine("avx2")))
    assert (found.low, found.high) == pytest.approx((0.08 * 0.4, 0.08 * 2.5))
    assert found.basis.endswith("factors measured on avx512_vnni, carried over to avx2")


def test_on_less_work_than_was_measured_the_interval_widens_by_how_much_less() -> None:
    known = row({"products": 1.0})
    usual, at, below = (
        estimate(PRODUCTS, given=setting(replace(known, least=least * PRODUCTS.amount))) for least in (0.0, 1.0, 3.0)
    )
    assert at == usual
    assert below.low == pytest.approx(usual.low / 3)
    assert below.high == pytest.approx(usual.high * 3)
    assert below.basis.endswith(", on 3.0 times the work at least")


def test_reports_move_a_time() -> None:
    found = estimate(PRODUCTS, given=setting(row(FACTORS), observations=(observation(4.0),)))
    assert found.mid == pytest.approx(0.16)


MEMORY = (
    MemoryTerm("file", 100e6, "file"),
    MemoryTerm("process", 60e6, "anonymous"),
    MemoryTerm("cache", 16e6, "kv"),
    MemoryTerm("activations", 4e6, "activations"),
)


def test_memory_without_factors_counts_bytes_as_they_are_in_a_wide_interval() -> None:
    found = memory(MEMORY, ENGINE, setting())
    assert (found.peak.low, found.peak.high) == pytest.approx((0.8 * 180e6, 1.3 * 180e6))
    assert found.kv_bytes == 16_000_000
    assert "no factors" in found.peak.basis


def test_memory_with_factors() -> None:
    factors = {"process": 1.5, "activations": 2.0, "cache": 1.25}
    found = memory(MEMORY, ENGINE, setting(row(factors, "memory", isa="any", low=0.9, high=1.1)))
    assert (found.peak.low, found.peak.high) == pytest.approx((0.9 * 218e6, 1.1 * 218e6))
    assert found.kv_bytes == 16_000_000
    assert found.anonymous.high == pytest.approx(1.1 * 90e6)
    assert found.file_backed.low == pytest.approx(0.9 * 100e6)


def test_what_reports_add_to_the_peak_is_anonymous() -> None:
    seen = (observation(1.21, phase="memory"),)
    found = memory(MEMORY, ENGINE, setting(observations=seen))
    plain = memory(MEMORY, ENGINE, setting())
    assert found.peak.mid == pytest.approx(1.1 * plain.peak.mid)
    assert found.file_backed == plain.file_backed
    assert found.anonymous.mid - plain.anonymous.mid == pytest.approx(found.peak.mid - plain.peak.mid)


def test_nothing_in_memory_is_nothing() -> None:
    assert memory((), ENGINE, setting()).peak.high == 0


AMOUNTS = st.floats(1e3, 1e13)
NAMES = st.sampled_from(["products", "weights", "calls"])
TERMS = st.lists(
    st.one_of(
        st.builds(Term, st.just("products"), AMOUNTS, st.sampled_from(["flops", "int8_ops"])),
        st.builds(Term, st.just("weights"), AMOUNTS, st.just("bytes")),
        st.builds(Term, st.just("calls"), st.floats(1, 1e5), st.just("seconds")),
    ),
    min_size=1,
    max_size=5,
)
THREADS = st.integers(1, 4)


@given(TERMS, THREADS, st.floats(1, 100))
def test_more_bandwidth_or_throughput_is_never_slower(terms: list[Term], threads: int, times: float) -> None:
    base = setting(row(FACTORS), threads=threads)
    for faster in (machine(bytes_per_s=times * 10e9), machine(flops_per_s=times * 100e9)):
        quicker = estimate(*terms, given=setting(row(FACTORS), profile=faster, threads=threads))
        assert quicker.high <= estimate(*terms, given=base).high * (1 + 1e-9)
        assert quicker.low <= estimate(*terms, given=base).low * (1 + 1e-9)


@given(TERMS, THREADS)
def test_more_threads_are_never_slower(terms: list[Term], threads: int) -> None:
    fewer = estimate(*terms, given=setting(row(FACTORS), threads=threads))
    more = estimate(*terms, given=setting(row(FACTORS), threads=threads + 1))
    assert more.low <= fewer.low * (1 + 1e-9)
    assert more.high <= fewer.high * (1 + 1e-9)


@given(TERMS, TERMS)
def test_more_work_is_never_faster(terms: list[Term], further: list[Term]) -> None:
    assert estimate(*terms, *further).low >= estimate(*terms).low * (1 - 1e-9)
    assert estimate(*terms, *further).high >= estimate(*terms).high * (1 - 1e-9)


@given(TERMS, THREADS, st.floats(0.5, 1), st.floats(1, 2), st.booleans())
def test_the_interval_holds_the_combination_at_the_middle_rates(
    terms: list[Term], threads: int, low: float, high: float, known: bool
) -> None:
    profile = machine()
    if not known:
        bandwidth = MemoryBandwidth(sustained_bytes_per_s=measured(10e9))
        profile = profile.model_copy(update={"memory_bandwidth": bandwidth})
    found = estimate(*terms, given=setting(row(FACTORS, low=low, high=high), profile=profile, threads=threads))
    rates = {unit: rate(profile, unit, threads) for unit in ("flops", "int8_ops", "bytes")}
    at_middle = combine(terms, FACTORS, {unit: each.mid for unit, each in rates.items() if each is not None})
    assert 0 < found.low <= at_middle * (1 + 1e-9)
    assert at_middle <= found.high * (1 + 1e-9)


@given(TERMS, st.lists(st.floats(1e-300, 1e300), max_size=4))
def test_no_report_makes_an_interval_empty(terms: list[Term], ratios: list[float]) -> None:
    seen = tuple(observation(ratio, name="x" * index) for index, ratio in enumerate(ratios))
    assume(all(0 < each.measured < math.inf for each in seen))
    found = estimate(*terms, given=setting(row(FACTORS), observations=seen))
    assert 0 < found.low <= found.high < math.inf
