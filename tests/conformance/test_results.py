"""Answers and their output: expectations, classes, exit codes, KTAP, tables, differences. Needs no privilege."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable

import pytest

from netdevns.cli.main import main
from netdevns.conformance import command, expected, ktap, report, runner
from netdevns.conformance.expected import Result
from netdevns.conformance.probe import ABI, CLASSES, SPEC, VARIES, NotAvailable, Probe, probe
from netdevns.conformance.runner import Answer

ROWS = {"test.made": [["5.10", "EINVAL"], ["6.15", "EBUSY"]]}
DATA = {"kernels": {"5.10": "5.10.46", "6.15": "6.15.1"}, "absent": {}, "probes": ROWS}

Make = Callable[..., Probe]


def result(made: Make, status: str, kind: str = ABI, id_: str = "test.made", reason: str | None = None) -> Result:
    return Result(made(lambda _: None, id_, kind), status, "now" if status != "n/a" else None, "before", reason)


# ---- the package's probes ----


def test_ids_are_unique_and_well_formed(every: list[Probe]) -> None:
    """subject.thing.case, in lower case, digits and hyphens; no id is used twice."""
    ids = [each.id for each in every]
    assert len(ids) == len(set(ids)) >= 100
    part = r"[a-z0-9]+(-[a-z0-9]+)*"
    assert [id_ for id_ in ids if not re.fullmatch(rf"{part}(\.{part})+", id_)] == []


def test_each_probe_has_class_sentence_and_source(every: list[Probe]) -> None:
    """The class is known, the sentence begins with a capital and ends with a full stop, the source is not empty."""
    assert {each.kind for each in every} <= set(CLASSES)
    assert [each.id for each in every if not re.fullmatch(r"([A-Z]|ifi_).*[.]", each.sentence)] == []
    assert [each.id for each in every if "{}" in each.sentence or not each.source] == []


def test_each_probe_has_an_expectation(every: list[Probe]) -> None:
    """Each probe has a measured value, and each value a probe."""
    data = expected.load()
    assert set(data["probes"]) == {each.id for each in every}
    assert all(rows for rows in data["probes"].values())


def test_classes_agree_with_the_data(every: list[Probe]) -> None:
    """A probe of class spec or abi has one value on all measured kernels."""
    rows = expected.load()["probes"]
    assert [each.id for each in every if each.kind != VARIES and len(rows[each.id]) > 1] == []


def test_one_function_makes_a_probe_of_each_case() -> None:
    """Id, sentence, class and needs depend on the case, and the function gets the case's arguments."""

    @probe(
        "test.{}.case",
        ABI,
        "It is {}.",
        source="s",
        needs=["{}"],
        cases={"a": (1,), "b": (2,)},
        kinds={"b": SPEC},
        texts={"b": "bee"},
    )
    def function(world: object, number: int) -> int:
        del world
        return number

    a, b = vars(function)["probes"]
    assert (a.id, a.kind, a.sentence, a.needs, a.run(None)) == ("test.a.case", ABI, "It is a.", ("a",), 1)
    assert (b.id, b.kind, b.sentence, b.needs, b.run(None)) == ("test.b.case", SPEC, "It is bee.", ("b",), 2)


# ---- expectations ----


@pytest.mark.parametrize(
    ("release", "value"),
    [
        ("5.10.46", "EINVAL"),
        ("6.14.0-rc1+", "EINVAL"),
        ("6.15", "EBUSY"),
        ("6.18.44-local", "EBUSY"),
        ("7.2-arch1", "EBUSY"),
        ("6.9.1", "EINVAL"),
        ("5.4.0", "EINVAL"),
    ],
)
def test_the_last_row_that_is_not_newer_counts(release: str, value: str) -> None:
    """Versions are compared as numbers, without suffixes; a kernel older than all rows is held to the first."""
    assert expected.expectation(DATA, "test.made", release) == (True, value)


def test_a_value_that_was_never_measured_is_no_pass(made: Make) -> None:
    """Without an expectation the status is `changed`, and the run fails, even if the value is null."""
    found = expected.judge(made(lambda _: None, "test.new"), Answer("ok", None), DATA, "6.18")
    assert (found.status, found.expected, found.reason, found.fails) == ("changed", None, "never measured", True)


@pytest.mark.parametrize(("value", "wanted"), [(True, 1), (0, False), (None, "None"), ({"a": 1}, {"a": 2})])
def test_values_are_compared_as_json(made: Make, value: object, wanted: object) -> None:
    """true is not 1."""
    data = {"probes": {"test.made": [["5.10", wanted]]}}
    assert expected.judge(made(lambda _: None), Answer("ok", value), data, "6.18").status == "changed"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "kind", "fails"),
    [
        ("ok", SPEC, False),
        ("changed", SPEC, True),
        ("changed", ABI, True),
        ("changed", VARIES, False),
        ("n/a", SPEC, False),
        ("error", VARIES, True),
        ("error", ABI, True),
    ],
)
def test_which_results_fail_a_run(made: Make, status: str, kind: str, fails: bool) -> None:
    """A change of class spec or abi and any error do; a change of class varies and n/a do not."""
    assert result(made, status, kind).fails is fails


@pytest.mark.parametrize(
    ("release", "measured"), [("6.15.9-local", True), ("6.15", True), ("6.1.5", False), ("6.16.0", False), ("6", False)]
)
def test_which_kernels_were_measured(release: str, measured: bool) -> None:
    """The version counts, without fixes and suffixes."""
    assert expected.is_measured(DATA, release) is measured


# ---- output ----


def test_ktap_stream(made: Make) -> None:
    """Version, plan, one line per probe; n/a is SKIP, not a bare pass; a change of class varies is `ok`."""
    results = [
        result(made, "ok"),
        result(made, "changed", SPEC, "test.spec"),
        result(made, "changed", VARIES, "test.varies"),
        result(made, "n/a", ABI, "test.missing", "no #1\ndevices"),
        result(made, "error", VARIES, "test.broken", "it # broke"),
    ]
    text = ktap.stream(results)
    assert [line for line in text.splitlines() if not line.startswith("# ")] == [
        "KTAP version 1",
        "1..5",
        "ok 1 test.made",
        "not ok 2 test.spec",
        "ok 3 test.varies",
        "ok 4 test.missing # SKIP no 1 devices",
        "not ok 5 test.broken",
    ]
    assert '# expected: "before"\n# value: "now"\nnot ok 2' in text
    assert "# reason: it broke\nnot ok 5" in text


def test_table_counts_by_subject_and_lists_failures(made: Make) -> None:
    """The table shows the subjects that failed, the values, and the reasons for n/a."""
    results = [
        result(made, "ok"),
        result(made, "changed", SPEC, "other.spec"),
        result(made, "n/a", ABI, "other.x", "no y"),
    ]
    text = report.run(results, "6.18", None, chosen=False)
    assert re.search(r"^test +ok +1 +- +1 +- +-$", text, re.MULTILINE)
    assert re.search(r"^other +FAILED 1 +2 +1 +- +- +1$", text, re.MULTILINE)
    assert re.search(r"^other.spec +FAILED changed +spec +now$", text, re.MULTILINE)
    assert "expected: before" in text
    assert re.search(r"^n/a +1  no y$", text, re.MULTILINE)
    assert text.splitlines()[-1].endswith("; 1 failed")


def test_selection(made: Make) -> None:
    """Probes are selected by id, glob and class, in their order; a word that selects nothing is refused."""
    probes = [made(lambda _: None, id_, kind) for id_, kind in (("a.x", ABI), ("a.y", SPEC), ("b.z", VARIES))]

    def ids(*words: str) -> list[str]:
        return [each.id for each in command.select(probes, words)]

    assert ids() == ["a.x", "a.y", "b.z"]
    assert ids("varies", "a.*") == ["a.x", "a.y", "b.z"]
    assert ids("spec") == ["a.y"]
    assert ids("b.z") == ["b.z"]
    with pytest.raises(command.Refused, match=r'"c\.\*"'):
        ids("a.x", "c.*")


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["diff", "one"], ["diff", "/dev/null", "/dev/null"], ["diff", "/nope", "/nope"]]
)
def test_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, one line on stderr, nothing on stdout."""
    assert main(["conformance", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("netdevns: conformance: ")
    assert len(err.splitlines()) == 1


def test_list(capsys: pytest.CaptureFixture[str], every: list[Probe]) -> None:
    """Each probe is one line, with its class and sentence."""
    assert main(["conformance", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[:2] for line in lines] == [[each.id, each.kind] for each in every]


def document(kernel: str, **values: object) -> dict[str, object]:
    rows = [{"id": f"test.{k}", "class": ABI, "status": "ok", "value": v, "reason": None} for k, v in values.items()]
    return {"kernel": kernel, "arch": "x", "probes": rows}


def test_diff(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 and the values that differ between two documents; otherwise 0."""
    files = []
    for name, values in {"a": {"x": 1, "y": 2, "gone": 3}, "b": {"x": 1, "y": [5]}}.items():
        files.append(os.path.join(str(tmp_path), name))
        with open(files[-1], "w", encoding="utf-8") as file:
            json.dump(document(f"kernel-{name}", **values), file)
    assert main(["conformance", "diff", *files]) == 1
    text = capsys.readouterr().out
    assert [line.split() for line in text.splitlines()] == [
        ["PROBE", "CLASS", "kernel-a", "kernel-b"],
        ["test.y", ABI, "2", "[5]"],
        ["test.gone", ABI, "3", "(no", "such", "probe)"],
    ]
    assert main(["conformance", "diff", files[0], files[0]]) == 0


def test_without_namespaces_nothing_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2; the message has the kernel's error."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "unshare: Operation not permitted")

    monkeypatch.setattr(runner, "_unshare", refuse)
    assert main(["conformance", "message.ns-fd.target"]) == 2
    assert "cannot make fresh namespaces" in capsys.readouterr().err


def test_not_available_is_no_pass() -> None:
    """A probe's `except OSError` does not catch NotAvailable."""
    assert not issubclass(NotAvailable, OSError)
