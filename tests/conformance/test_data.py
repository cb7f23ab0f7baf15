"""expected.json, as tools/conformance merges it from documents, and the tool itself. Needs no privilege."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from netdevns.conformance import expected, subjects
from netdevns.conformance.probe import ABI, VARIES
from tools import conformance, conformance_data, conformance_page
from tools.conformance_data import Refused, merged

ROOT = Path(__file__).resolve().parents[2]
CLASSES = {"test.a": VARIES, "test.b": VARIES}
OLD = {
    "kernels": {"5.10": "5.10.1", "6.1": "6.1.9", "6.12": "6.12.3"},
    "absent": {"5.10": {"no vlan devices": ["test.b"]}},
    "probes": {"test.a": [["5.10", 1], ["6.1", 2]], "test.b": [["6.1", 5]]},
}


def document(kernel: str, **values: object) -> dict[str, object]:
    """A document with the probes test.a, ... and their values; a set of one string is the reason of an n/a."""
    rows = []
    for name, value in values.items():
        missing = isinstance(value, set)
        row = {"status": "n/a" if missing else "ok", "value": None if missing else value}
        rows.append({"id": f"test.{name}", "reason": next(iter(value)) if isinstance(value, set) else None, **row})
    return {"kernel": kernel, "arch": "x", "probes": rows}


# ---- merging documents ----


def test_data_has_a_row_for_each_change() -> None:
    """Rows are in the order of versions, not of files; a missing answer has its reason."""
    documents = [
        document("6.1.9-local", a=2, b=5),
        document("5.10.1", a=1, b={"no vlan devices"}),
        document("6.12.3", a=2, b=5),
    ]
    data = merged(documents, CLASSES)
    assert data == OLD
    assert json.loads(conformance_data.text(data)) == data


def test_kernels_that_were_not_measured_stay() -> None:
    """A new kernel between two known ones leaves their answers, releases and reasons unchanged."""
    data = merged([document("6.6.1", a=3, b={"no b"})], CLASSES, OLD)
    assert data["kernels"] == {"5.10": "5.10.1", "6.1": "6.1.9", "6.6": "6.6.1", "6.12": "6.12.3"}
    assert data["absent"] == {"5.10": {"no vlan devices": ["test.b"]}, "6.6": {"no b": ["test.b"]}}
    assert data["probes"] == {"test.a": [["5.10", 1], ["6.1", 2], ["6.6", 3], ["6.12", 2]], "test.b": [["6.1", 5]]}


def test_kernels_that_were_measured_are_replaced() -> None:
    """Release and values are replaced; an answer that the new document lacks stays."""
    data = merged([document("6.1.10", a=7, b={"no b"})], CLASSES, OLD)
    assert data["kernels"]["6.1"] == "6.1.10"
    assert data["probes"] == {"test.a": [["5.10", 1], ["6.1", 7], ["6.12", 2]], "test.b": [["6.1", 5]]}
    assert data["absent"] == OLD["absent"]


def test_an_answer_replaces_an_n_a() -> None:
    """An n/a of an earlier document is gone."""
    data = merged([document("5.10.1", a=1, b=5)], CLASSES, OLD)
    assert data["absent"] == {}
    assert data["probes"]["test.b"] == [["5.10", 5]]


@pytest.mark.parametrize("order", [1, -1])
def test_two_documents_of_a_version_complete_each_other(order: int) -> None:
    """An n/a in one is filled from the other, in either order."""
    documents = [document("6.1.1", a=1, b={"no b"}), document("6.1.2", a={"no a"}, b=2)][::order]
    data = merged(documents, CLASSES)
    assert data["probes"] == {"test.a": [["6.1", 1]], "test.b": [["6.1", 2]]}
    assert data["absent"] == {}


def test_a_new_probe_is_n_a_on_other_kernels() -> None:
    """Its reason is `not asked yet`; a probe that no longer exists is removed."""
    data = merged([document("6.12.3", b=5, new=1)], {"test.b": VARIES, "test.new": ABI}, OLD)
    assert data["probes"] == {"test.b": [["6.1", 5]], "test.new": [["6.12", 1]]}
    assert data["absent"]["6.1"] == {conformance_data.UNASKED: ["test.new"]}


def test_a_difference_of_class_abi_is_refused() -> None:
    """The class must be corrected first; the message has the probe and each kernel's value."""
    with pytest.raises(Refused, match=r'test.a: class abi.*5.10: "x"; 6.1: "y"'):
        merged([document("5.10.1", a="x"), document("6.1", a="y")], {"test.a": ABI})


def test_two_answers_of_one_kernel_are_refused() -> None:
    """A probe that is not repeatable has no expectation; true is not 1."""
    with pytest.raises(Refused, match="not repeatable"):
        merged([document("6.1.1", a=1), document("6.1.2", a=True)], {"test.a": VARIES})


def test_errors_and_unanswered_probes_are_refused() -> None:
    """Each is named in the message."""
    broken = document("6.1.1", a=1)
    broken["probes"][0] |= {"status": "error", "reason": "it broke"}  # type: ignore[index]
    with pytest.raises(Refused, match=r"test.a: an error on 6.1.1: it broke\ntest.a: no kernel answered it"):
        merged([broken], {"test.a": VARIES})


def test_changes_are_listed_by_kernel() -> None:
    """Changed values and reasons are listed; a newer fix of a version is no change."""
    data = merged([document("6.1.10", a=2, b=6), document("5.10.1", a=1, b={"no rights"})], CLASSES, OLD)
    assert conformance_data.changes(OLD, data) == [
        "5.10: test.b: n/a, no vlan devices -> n/a, no rights",
        "6.1: test.b: 5 -> 6",
    ]
    assert conformance_data.changes(OLD, merged([document("6.1.10", a=2, b=5)], CLASSES, OLD)) == []


# ---- the tool ----


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Writable copies of expectations and page, and a document that agrees with them."""
    data = expected.load()
    name = list(data["kernels"])[-1]
    probes = [
        {"id": id_, "status": status, "value": said if status == "ok" else None, "reason": said}
        for id_, (status, said) in conformance_data.known(data, name).items()
    ]
    found = {name: tmp_path / name for name in ("expected.json", "kernels.md", "document")}
    found["expected.json"].write_text(Path(expected.FILE).read_text())
    found["kernels.md"].write_text(conformance_page.PAGE.read_text())
    found["document"].write_text(json.dumps({"kernel": f"{name}.99-mine", "arch": "x", "probes": probes}))
    monkeypatch.setattr(expected, "FILE", str(found["expected.json"]))
    monkeypatch.setattr(conformance_page, "PAGE", found["kernels.md"])
    return found


def altered(file: Path) -> tuple[str, str]:
    """Changes one value of a document; returns the version and the probe's id."""
    loaded = json.loads(file.read_text())
    probe = next(p for p in loaded["probes"] if p["id"].startswith("message.new-ifindex"))
    probe["value"] = "another"
    file.write_text(json.dumps(loaded))
    return loaded["kernel"].removesuffix(".99-mine"), str(probe["id"])


@pytest.mark.thorough
def test_check_without_a_difference(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, and nothing is written: a newer fix of a measured version is no difference."""
    before = {file: file.read_bytes() for file in files.values()}
    assert conformance.main(["--check", str(files["document"])]) == 0
    assert capsys.readouterr().out.endswith("\nup to date\n")
    assert {file: file.read_bytes() for file in files.values()} == before


@pytest.mark.thorough
def test_check_lists_differences(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1; the kernel, the probe and the stale page are listed, and nothing is written."""
    before, (kernel, id_) = files["expected.json"].read_bytes(), altered(files["document"])
    assert conformance.main(["--check", str(files["document"])]) == 1
    out = capsys.readouterr().out
    assert re.search(rf'^{kernel}: {id_}: .* -> "another"$', out, re.MULTILINE)
    assert "docs/kernels.md is stale" in out
    assert files["expected.json"].read_bytes() == before


@pytest.mark.thorough
def test_a_missing_page_is_stale(files: dict[str, Path]) -> None:
    """--check fails until --page has written it."""
    files["kernels.md"].unlink()
    assert conformance.main(["--check", "--page"]) == 1
    assert conformance.main(["--page"]) == 0
    assert conformance.main(["--check", "--page"]) == 0


@pytest.mark.thorough
def test_documents_are_written_into_both(files: dict[str, Path]) -> None:
    """Expectations, page and release are written."""
    kernel, id_ = altered(files["document"])
    assert conformance.main([str(files["document"])]) == 0
    data = json.loads(files["expected.json"].read_text())
    assert data["probes"][id_][-1] == [kernel, "another"]
    assert data["kernels"][kernel] == f"{kernel}.99"
    assert f"{kernel}.99" in files["kernels.md"].read_text()


@pytest.mark.parametrize("text", ["", "[]", '{"kernel": "", "probes": []}', '{"kernel": "6.1"}'])
def test_other_files_are_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and the message names the file."""
    (tmp_path / "x").write_text(text)
    assert conformance.main(["--check", str(tmp_path / "x")]) == 1
    assert f"{tmp_path}/x: not a document of" in capsys.readouterr().err


def as_kernel(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Replaces the suite's run on the running kernel."""
    monkeypatch.setattr(conformance, "COMMAND", ["-c", program])


def test_measuring_keeps_the_document(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Exit code 1 (unexpected values) is accepted; the kept document has no stderr."""
    text = json.dumps({"kernel": "6.18", "probes": []})
    as_kernel(monkeypatch, f"import sys; print('noise', file=sys.stderr); print('{text}'); sys.exit(1)")
    assert conformance.measure(["running"], 1, 60, tmp_path) == [{"kernel": "6.18", "probes": []}]
    assert json.loads((tmp_path / "running.json").read_text()) == {"kernel": "6.18", "probes": []}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["running.json"]


@pytest.mark.parametrize(
    ("program", "output"),
    [
        ("print('half of {')", "exit code 0"),
        ("import sys; print('no right', file=sys.stderr); sys.exit(2)", "exit code 2(.|\n)*no right"),
        ("import time; print('begun', flush=True); time.sleep(60)", "exit code -15(.|\n)*begun"),
    ],
)
def test_a_kernel_that_cannot_be_measured(
    program: str, output: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The message has the exit code and the last output, also after a time-out."""
    as_kernel(monkeypatch, program)
    with pytest.raises(Refused, match=f"running: no document: {output}"):
        conformance.measure(["running"], 1, 1, tmp_path)


def test_kernels_are_those_of_the_other_tool() -> None:
    """tools/kernels is not a module: its list is compared as text."""
    (line,) = re.findall(r"^SUITES = (\{.*\})$", (ROOT / "tools/kernels").read_text(), re.MULTILINE)
    assert tuple(json.loads(line)) == conformance.UML
    assert sys.executable in conformance.KERNELS


# ---- the package's own ----


def test_data_is_as_the_tool_writes_it() -> None:
    """It has not been edited, and has no probe that no longer exists."""
    data = expected.load()
    assert Path(expected.FILE).read_text(encoding="utf-8") == conformance_data.text(data)
    classes = {probe.id: probe.kind for probe in subjects.every()}
    assert merged([], classes, data) == data
