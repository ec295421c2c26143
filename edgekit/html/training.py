"""How a model was trained: its losses as curves, what they were of, and what a student lost and gained."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.html.axis import Axis, short, tick_labels
from edgekit.html.document import document
from edgekit.html.markup import Html, element, facts, figure, join, section, table
from edgekit.report import Compared, Course, CurvePoint, TrainingRecord, model_called, show

_LOGARITHMIC_FROM = 10.0
_STOPPED = {
    "completed": "all epochs were done",
    "budget": "its time was used up",
    "patience": "the validation loss no longer fell",
}


def student_page(record: TrainingRecord) -> str:
    """The page of `edgekit distill`."""
    teacher = model_called(record.teacher)
    header = element(
        "header",
        element("p", "edgekit distillation report", class_="eyebrow"),
        element("h1", f"A student of {teacher}"),
        element("p", record.student, class_="sub"),
    )
    return document(f"A student of {teacher}", [header, compared_section(record), training_section(record)])


def compared_section(record: TrainingRecord) -> Html | None:
    """What was lost against the teacher and gained; None where the two were not compared."""
    lead = (
        f"The student beside its teacher, on {record.held_out_rows:,} rows that training never saw. Intervals hold 95 %"
        " of bootstrap resamples; both models ran in torch, in turn."
    )
    return section("Lost and gained", compared_table(record.compared), lead=lead) if record.compared else None


def training_section(record: TrainingRecord) -> Html:
    """The training of a student."""
    who = [
        ("student", record.student),
        ("teacher", f"{record.teacher}, {record.teacher_parameters:,} parameters"),
    ]
    lead = f"A student, trained to answer as {model_called(record.teacher)} does."
    return course_section(record, who, "with labels" if record.labelled else "without labels", lead)


def course_section(record: Course, who: Sequence[tuple[str, object]], labels: str, lead: str) -> Html:
    """The curves, what was learnt from and towards, and what a person should know of it. `who` says of what model, and
    `labels` what became of those of the rows.
    """
    told = element("ul", *(element("li", each) for each in record.remarks), class_="notes") if record.remarks else None
    return section(
        "Training",
        _warning(record.remarks),
        element("div", curve_chart(record), class_="charts"),
        facts([*who, *_facts(record, labels)]),
        told,
        lead=lead,
    )


def _warning(remarks: Sequence[str]) -> Html | None:
    """Over-fitting is called out before anything else."""
    worse = [each for each in remarks if each.startswith("over-fitting")]
    if not worse:
        return None
    return element("p", element("span", "over-fitting", class_="badge warn"), " ", *worse)


def _facts(record: Course, labels: str) -> list[tuple[str, object]]:
    recipe = ", ".join(
        f"{name.removesuffix('_s').replace('_', ' ')} {value}{' s' if name.endswith('_s') else ''}"
        for name, value in record.recipe.items()
        if value is not None
    )
    return [
        ("data", record.origin),
        (
            "rows",
            f"{record.rows:,}: {record.train_rows:,} trained on, {record.validation_rows:,} to stop by,"
            f" {record.held_out_rows:,} held out; {labels}",
        ),
        ("losses", element("ul", *(element("li", each) for each in record.losses), class_="notes")),
        ("ended", f"{_STOPPED.get(record.stopped, record.stopped)}: {record.steps:,} steps in {record.seconds:,.0f} s"),
        ("kept", f"the weights of step {record.best_step:,}, validation loss {show(record.best_loss, '')}"),
        ("machine", record.machine),
        ("recipe", recipe),
    ]


def curve_chart(record: Course) -> Html | None:
    """Training and validation loss over the steps; None where there are not two points to join."""
    curve = record.curve
    if len(curve) < 2:
        return None
    steps = Axis(float(curve[0].step), float(max(curve[-1].step, curve[0].step + 1)), "")
    losses = _loss_axis(curve)
    validation = [(point.step, point.validation_loss) for point in curve if point.validation_loss is not None]
    training = [(point.step, point.train_loss) for point in curve]
    best = f"{steps.at(record.best_step):.2f}"
    drawn = element(
        "svg",
        *(element("line", x1=0, x2=100, y1=_up(losses, tick), y2=_up(losses, tick), class_="grid")
          for tick in losses.ticks()),
        _line(training, steps, losses, "base"),
        _line(validation, steps, losses, "value"),
        element("line", x1=best, x2=best, y1=0, y2=100, class_="mark"),
        viewBox="0 0 100 100", preserveAspectRatio="none", aria_hidden="true", focusable="false",
    )  # fmt: skip
    ticks = [element("span", short(tick, ""), style=f"bottom:{losses.at(tick):.2f}%") for tick in losses.ticks()]
    spoken = (
        f"Training loss from {training[0][1]:.4g} to {training[-1][1]:.4g}, validation loss from"
        f" {validation[0][1]:.4g} to {validation[-1][1]:.4g}, best {record.best_loss:.4g} at step {record.best_step}"
    )
    scale = "Logarithmic axis. " if losses.logarithmic else ""
    return figure(
        "Loss by step",
        element("p", _swatch("value", "validation"), " ", _swatch("base", "training"), class_="legend"),
        element("div", drawn, element("div", *ticks, class_="rows"), class_="scatter", role="img", aria_label=spoken),
        tick_labels(steps),
        caption=f"{scale}The line is at step {record.best_step:,}, whose weights were kept.",
    )


def _swatch(kind: str, name: str) -> Html:
    return join([element("span", class_=f"swatch {kind}"), name])


def _line(points: Sequence[tuple[int, float]], across: Axis, up: Axis, kind: str) -> Html:
    places = " ".join(f"{across.at(step):.2f},{_up(up, loss)}" for step, loss in points)
    return element("polyline", points=places, class_=f"curve {kind}")


def _up(axis: Axis, value: float) -> str:
    return f"{100 - axis.at(value):.2f}"


def _loss_axis(curve: Sequence[CurvePoint]) -> Axis:
    """From 0, or logarithmic where the losses fell far."""
    values = [value for point in curve for value in (point.train_loss, point.validation_loss) if value is not None]
    low, high = min(values), max(values)
    if low > 0 and high > _LOGARITHMIC_FROM * low:
        return Axis(low / 1.15, high * 1.15, "", logarithmic=True)
    return Axis(min(0.0, low), high * 1.05 if high > 0 else 1.0, "")


def compared_table(compared: Sequence[Compared]) -> Html:
    header = ("figure", "teacher", "student", "lost or gained", "95 % interval", "how")
    rows = [
        (
            each.name,
            None if each.teacher is None else show(each.teacher, each.unit),
            None if each.student is None else show(each.student, each.unit),
            show(each.value, each.value_unit),
            None
            if each.low is None or each.high is None
            else f"{show(each.low, each.value_unit)} to {show(each.high, each.value_unit)}",
            element("span", each.how, class_="where"),
        )
        for each in compared
    ]
    return table("Lost and gained", header, rows, "figures")
