"""The top of the page: the verdict, where it was measured, and the figures that people look for first."""

from __future__ import annotations

from edgekit.html.bars import gauge, limit_told
from edgekit.html.markup import Html, element, join
from edgekit.report import Report, Row, is_within, machine_told, show, show_estimate, show_off

_HEADLINES = (
    "goldens that fail",
    "mean cosine",
    "agreement",
    "top-1 agreement",
    "mean KL",
    "latency p50",
    "decode speed",
    "latency over fp32",
    "peak RSS",
    "counted memory",
    "runs within the memory limit",
    "model file",
)
_ANYWHERE = ("model file",)
# On a wide screen: so that no card stands alone in its row.
_COLUMNS = {1: 3, 2: 3, 3: 3, 4: 4, 5: 5, 6: 3, 9: 5, 10: 5}


def is_compared(report: Report, row: Row) -> bool:
    """Whether the row's estimate is of what was measured: on the device itself, or of a file."""
    return report.device_is_host or row.name in _ANYWHERE


def heading(report: Report, device: str) -> Html:
    return element(
        "header",
        element("p", "edgekit validation report", class_="eyebrow"),
        element("h1", report.model),
        element("p", f"{report.strategy} for {device}", element("span", report.task, class_="task"), class_="sub"),
        verdict(report),
        badges(report, device),
    )


def verdict(report: Report) -> Html:
    passed = report.status == "passed"
    mark = element("span", "\N{CHECK MARK}" if passed else "\N{MULTIPLICATION X}", class_="mark", aria_hidden="true")
    asked = sum(row.passed is not None for row in report.rows)
    held = sum(row.passed is True for row in report.rows)
    if report.missed:
        missed = [f"{row.name} is {show(row.measured, row.unit)}, {limit_told(row)} asked" for row in report.missed]
        told: object = element("ul", *(element("li", each) for each in missed))
    else:
        some = f"{held} of {asked} limits held." if asked else "No limit was asked."
        told = element("p", f"All {asked} limits held." if asked > 1 else some)
    return element(
        "div",
        mark,
        element("div", element("strong", report.status), told),
        class_=f"verdict {'good' if passed else 'bad'}",
    )


def badges(report: Report, device: str) -> Html:
    """Where the figures are from, before anyone reads one."""
    host, told = report.host, []
    if host.emulator:
        told.append(("warn", f"{_capital(machine_told(host))}, not on {device}"))
        told.append(
            ("plain", "No time and no memory was measured: an emulator computes as that CPU does, and not as fast")
        )
    elif report.device_is_host:
        told.append(("plain", f"{_capital(machine_told(host))}: the device itself"))
    else:
        told.append(("warn", f"{_capital(machine_told(host))}, not on {device}"))
    if report.missed and report.status == "passed":
        told.append(("warn", "A limit is missed"))
    return element("p", *(element("span", text, class_=f"badge {kind}") for kind, text in told), class_="badges")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def cards(report: Report, device: str) -> Html:
    rows = [row for name in _HEADLINES for row in report.rows if row.name == name]
    legend = "Bars are what was measured, a line is the limit and the tinted side what it allows"
    if any(is_compared(report, row) and row.estimate_low is not None for row in rows):
        legend += ", a band the estimate"
    columns = _COLUMNS.get(len(rows), 4)
    drawn = element("div", *(_card(row, report, device) for row in rows), class_="cards", style=f"--columns:{columns}")
    return join([drawn, element("p", f"{legend}.", class_="legend")])


def _card(row: Row, report: Report, device: str) -> Html:
    compared = is_compared(report, row)
    value = show(row.measured, row.unit)
    number, _, unit = value.partition(" ")
    limit = limit_told(row)
    told = "no limit asked" if not limit else "asked for" if row.unit == "yes/no" else f"limit {limit}"
    estimate = show_estimate(row)
    expected = None
    if estimate and compared:
        inside = "" if row.measured is None else ", inside" if is_within(row) else ", outside"
        expected = element("span", f"estimated {estimate} ({show_off(row) or 'exact'}{inside})", class_="expected")
    elif estimate:
        expected = element("span", f"estimated {estimate} on {device}", class_="expected")
    spoken = f"{row.name} {value}, {told}" + (f", estimated {estimate}" if estimate and compared else "")
    state = {True: "held", False: "missed", None: ""}[row.passed]
    flag = element("span", state, class_=f"state {'good' if row.passed else 'bad'}") if state else None
    return element(
        "div",
        element("span", row.name),
        element("div", element("b", number), element("span", unit, class_="unit"), class_="figure"),
        gauge(row, spoken, compared=compared),
        element("div", element("span", told), flag, class_="asked"),
        expected,
        class_=f"card {'bad' if row.passed is False else ''}".strip(),
    )


def nothing_measured(report: Report) -> Html | None:
    """What an emulated report says in place of the times and the memory that it does not have."""
    if not report.host.emulator:
        return None
    kernels = ", ".join(report.host.kernels)
    told = [element("p", f"These figures were computed by {report.host.emulator}, emulating {report.host.cpu}.")]
    if kernels:
        told.append(element("p", f"Kernels the engine picked there: {kernels}."))
    told.append(
        element("p", "Latency and memory are not in this report. Measure them on the device: --on ssh:USER@HOST.")
    )
    return element("div", join(told), class_="notice")
