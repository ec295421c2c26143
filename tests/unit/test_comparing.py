"""Only reports that belong together are compared; whatever else a file holds is refused in a line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures import bundles
from fixtures.reports import full_report

from edgekit import compare
from edgekit.cli import main
from edgekit.comparison_table import comparison_text
from edgekit.errors import BadBundle, BadReport, EdgekitError, UsageError
from edgekit.report import Report


def saved(path: Path, **changes: object) -> Path:
    path.write_text(full_report(**changes).to_json(), encoding="utf-8")  # type: ignore[arg-type]
    return path


def test_saved_reports_of_one_model_are_compared(tmp_path: Path) -> None:
    one = saved(tmp_path / "a.json", model_sha256="1" * 64)
    other = saved(tmp_path / "b.json", model_sha256="2" * 64, strategy="onnx-fp32")
    again = saved(tmp_path / "c.json", model_sha256="2" * 64)
    found = compare(one, other, reports=[again])
    assert [(column.key, column.name) for column in found.columns] == [
        ("A", "a.json"),
        ("B", "b.json"),
        ("C", "c.json"),
    ]


def test_a_report_in_its_bundle_is_named_for_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        saved(tmp_path / name / "report.json")
    monkeypatch.chdir(tmp_path / "one")
    assert [column.name for column in compare("report.json", "../other/report.json").columns] == ["one", "other"]


def test_one_bundle_with_a_report_from_elsewhere_is_enough(tmp_path: Path) -> None:
    found = compare(saved(tmp_path / "a.json"), reports=[str(saved(tmp_path / "b.json"))])
    assert len(found.columns) == 2


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500])


def not_a_number(path: Path) -> None:
    changed = json.loads(path.read_text())
    changed["rows"][0]["measured"] = float("nan")
    path.write_text(json.dumps(changed))


def far_too_large(path: Path) -> None:
    changed = json.loads(path.read_text())
    changed["series"]["cosine"][0] = 1e300
    path.write_text(json.dumps(changed))


def without_rows(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rows": []}))


def another_schema(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 9}))


def a_manifest(path: Path) -> None:
    path.write_text('{"schema_version": 1, "name": "m"}')


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**30)


def gone(path: Path) -> None:
    path.unlink()


def not_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00" * 99)


def deep(path: Path) -> None:
    path.write_text("[" * 100_000)


def another_task(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"task": "juggling"}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (another_task, "is of the task 'juggling', not one of embedding"),
        (truncated, "is no report"),
        (not_a_number, "holds the figure nan"),
        (far_too_large, r"holds the figure 1e\+300"),
        (without_rows, "a report without a figure"),
        (another_schema, "schema_version"),
        (a_manifest, "is no report: model: Field required"),
        (huge, "1073741824 bytes, a report has at most"),
        (gone, "No such file"),
        (not_text, "is no report"),
        (deep, "is no report"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, spoil: Callable[[Path], None], said: str) -> None:
    spoil(saved(tmp_path / "b.json"))
    with pytest.raises(BadReport, match=said) as caught:
        compare(saved(tmp_path / "a.json"), tmp_path / "b.json")
    assert caught.value.exit_code == 33
    assert len(str(caught.value)) < 400


def test_no_words_of_a_report_reach_the_terminal_as_orders(tmp_path: Path) -> None:
    orders = "\x1b[2Jwiped\x9b\n"
    paths = [saved(tmp_path / f"{name}.json", model=orders, strategy=orders, device=orders) for name in "ab"]
    told = comparison_text(compare(*paths))
    assert "[2Jwiped:" in told
    assert all(each.isprintable() for each in told.replace("\n", ""))
    with pytest.raises(BadReport) as caught:
        compare(paths[0], saved(tmp_path / "c.json", task="tensors", model=orders))
    assert str(caught.value).isprintable()


def test_a_report_of_another_bundle_is_refused(tmp_path: Path) -> None:
    known = saved(tmp_path / "a.json")
    other = saved(tmp_path / "b.json", model_sha256="f" * 64)
    with pytest.raises(BadReport, match=r"b\.json is a report of another bundle .*sha256 ffffffffffff"):
        compare(known, reports=[other])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": "causal-lm", "model_sha256": "1" * 64}, "does embedding, .*causal-lm"),
        ({"model": "another", "model_sha256": "1" * 64}, "is of encoder, .* of another"),
    ],
)
def test_what_does_not_compare_is_refused(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(BadReport, match=said):
        compare(saved(tmp_path / "a.json"), saved(tmp_path / "b.json", **changes))


def test_bundles_are_verified_and_of_one_source(tmp_path: Path) -> None:
    one = bundle(tmp_path / "one", "0" * 64)
    with pytest.raises(BadReport, match=r"were packed from different models \(sha256 000000000000"):
        compare(one, bundle(tmp_path / "other", "1" * 64, content=b"y"))
    same = bundle(tmp_path / "same", "0" * 64, content=b"z", model="renamed")
    assert [column.name for column in compare(one, same).columns] == ["one", "same"]
    (same / "onnx/model.onnx").write_bytes(b"!")
    with pytest.raises(BadBundle, match=rf"^{same}: onnx/model.onnx was changed"):
        compare(one, same)
    (same / "edgekit.json").unlink()
    with pytest.raises(BadBundle) as caught:
        compare(one, same)
    assert str(caught.value).count(str(same)) == 1


def test_a_bundle_whose_report_is_of_another_model_file_is_refused(tmp_path: Path) -> None:
    one = bundle(tmp_path / "one", "0" * 64)
    other = bundle(tmp_path / "other", "0" * 64, content=b"y", reported="e" * 64)
    with pytest.raises(BadBundle, match="its report is of another model file"):
        compare(one, other)


@pytest.mark.parametrize("count", [1, 13])
def test_one_report_or_too_many_are_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(UsageError):
        compare(*(saved(tmp_path / f"{index}.json") for index in range(count)))


def test_the_same_file_twice_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.json")
    with pytest.raises(UsageError, match="named twice"):
        compare(path, path)


def test_the_command_prints_a_table_and_writes_a_page_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(Path("a.json"), model_sha256="1" * 64)
    saved(Path("b.json"), model_sha256="2" * 64, p50_ms=4.0)
    assert main(["compare", "a.json", "b.json", "--html", "c.html"]) == 0
    assert "latency p50        2 ms *     4 ms" in capsys.readouterr().out
    assert Path("c.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert main(["compare", "a.json", "b.json", "--html", "c.html"]) == 40
    assert main(["compare", "a.json", "b.json", "--html", "c.html", "--force"]) == 0
    capsys.readouterr()
    assert main(["compare", "a.json", "--reports", "b.json"]) == 33
    assert main(["compare", "a.json"]) == 2
    assert main(["compare", "a.json", "b.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pareto"]["optimal"] == ["A"]


def bundle(folder: Path, source_sha256: str, content: bytes = b"x", reported: str = "", model: str = "encoder") -> Path:
    """A bundle whose hashes hold, whose model file is `content`, and whose report is of that file or of `reported`."""
    (folder / "onnx").mkdir(parents=True)
    (folder / "onnx/model.onnx").write_bytes(content)
    saved(folder / "report.json", model=model, model_sha256=reported or hashlib.sha256(content).hexdigest())
    provenance = {
        "source": "m", "revision": None, "source_sha256": source_sha256, "licence": None, "tools": {}, "created_utc": ""
    }  # fmt: skip
    return bundles.seal(folder, provenance=provenance)


def test_every_refusal_is_one_of_edgekit_s_own(tmp_path: Path) -> None:
    """Whatever bytes a report is made of."""
    whole = full_report().to_json().encode()
    known = saved(tmp_path / "a.json")
    for cut in range(0, len(whole), 211):
        (tmp_path / "b.json").write_bytes(whole[:cut] + b"\x7f" + whole[cut + 1 :])
        try:
            compare(known, tmp_path / "b.json")
        except EdgekitError:
            continue


def test_a_report_is_a_value(tmp_path: Path) -> None:
    assert Report.model_validate_json(saved(tmp_path / "a.json").read_bytes()) == full_report()
