"""The page of `edgekit qat`: what rounding took and what came back of it, and how the losses went."""

from __future__ import annotations

from edgekit.html.document import document
from edgekit.html.markup import Html, element, section, table
from edgekit.html.training import course_section
from edgekit.quantaware.finetuning import Record
from edgekit.report import model_called, show


def page(record: Record) -> str:
    name = model_called(record.source)
    title = f"{name}, trained for {record.deployment}"
    header = element(
        "header",
        element("p", "edgekit quantization-aware training report", class_="eyebrow"),
        element("h1", title),
        element("p", layers_told(record), class_="sub"),
    )
    lead = f"Trained to answer, computed as {record.deployment}, as {name} does in float32."
    trained = course_section(record, [("model", record.source)], "labels are not used", lead)
    return document(title, [header, recovered_section(record), trained])


def layers_told(record: Record) -> str:
    """ "onnx-int8 (7 bits: the device's CPU saturates): 36 int8-7bit, 3 uint8-table layers"."""
    bits = " (7 bits: the device's CPU saturates)" if record.seven_bits else ""
    layers = ", ".join(f"{count} {kind}" for kind, count in record.layers.items())
    return f"{record.deployment}{bits}: {layers} layers"


def recovered_section(record: Record) -> Html:
    """What rounding alone costs, and what is left of that."""
    found = record.recovered
    header = ("lost against the float model", "rounding alone", "after training", "came back", "95 % interval")
    row = (
        found.measure, show(found.plain, ""), show(found.trained, ""), f"{found.share:.0%}",
        f"{found.low:.0%} to {found.high:.0%}",
    )  # fmt: skip
    lead = (
        f"On {found.rows:,} rows that training never saw, in torch as it will be deployed. The interval holds 95 % of "
        "bootstrap resamples."
    )
    return section("What came back", table("What came back", header, [row], "figures"), lead=lead)
