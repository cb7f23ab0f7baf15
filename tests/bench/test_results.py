"""Documents are read, and what is computed of them is right: by numbers that can be worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import results, store
from bench.results import CPU, RSS, WALL, Fit, Refused, Spread
from tests.bench.documents import cost, raw, rounds, written

ONE = rounds("batch-1", "floor plain", 2.0) + rounds("batch-1", "netdevns native", 3.0)


def test_document_is_read() -> None:
    """Its kernel, its scenarios, its contestants in the usual order, the facts in one level."""
    document = results.parsed(raw(list(reversed(ONE))), "a.json")
    assert (document.name, document.uml) == ("Linux 6.18.44", False)
    assert document.contestants("batch-1") == ["floor plain", "netdevns native"]
    assert document.scenarios["batch-1"].addresses == 2
    facts = {"CPU": "A CPU", "processors": "2", "CONFIG_HZ": "250", "netdevns": "abc", "iproute2": "6.1.0"}
    assert document.machine == facts


def test_ratio_is_that_of_each_round() -> None:
    """Noise that both meet is not seen; the medians alone would hide that."""
    document = results.parsed(raw(ONE), "a.json")
    ratio = document.ratio("batch-1", "netdevns native", "floor plain", WALL)
    assert ratio
    assert (ratio.least, ratio.median, ratio.most) == tuple([pytest.approx(1.5)] * 3)
    value = document.value("batch-1", "floor plain", WALL)
    assert value
    assert value.low < value.median < value.high


def test_rounds_pair_by_their_number() -> None:
    """Where one of the two lacks a round, the other's does not count."""
    benchmarks = rounds("batch-1", "floor plain", 1.0)[1:] + rounds("batch-1", "netdevns native", 2.0)[:3]
    ratio = results.parsed(raw(benchmarks), "a").ratio("batch-1", "netdevns native", "floor plain", WALL)
    assert ratio
    assert (ratio.count, ratio.median) == (2, pytest.approx(2))


def test_rounds_without_verification_are_never_used() -> None:
    """They are named, with their number and the reason, in one line."""
    bad = rounds("batch-1", "go", 9.0, verified=False, why="an address\nis missing")
    good = rounds("batch-1", "go", 1.0)
    document = results.parsed(raw([*bad[:2], *good[2:]]), "a")
    assert [str(each) for each in document.dropped] == ["batch-1, go: 2 not used: an address is missing"]
    value = document.value("batch-1", "go", WALL)
    assert value
    assert (value.count, value.most) == (3, pytest.approx(1.02))


def test_contestant_without_a_good_round_is_left_out() -> None:
    """Neither as a contestant nor in a ratio."""
    benchmarks = [*ONE, *rounds("batch-1", "go", 9.0, verified=False)]
    document = results.parsed(raw(benchmarks), "a")
    assert "go" not in document.contestants("batch-1")
    assert document.ratio("batch-1", "netdevns native", "go", WALL) is None
    assert [each.why for each in document.dropped] == ["not verified"]


def test_missing_time_is_reported() -> None:
    """Verified, but not timed."""
    benchmarks = rounds("batch-1", "go", 9.0)
    for each in benchmarks:
        each["extra_info"]["wall_s"] = None
    assert [each.why for each in results.parsed(raw(benchmarks), "a").dropped] == ["no time"]


def test_kernel_has_its_version_as_name(tmp_path: Path) -> None:
    """Without what a distribution adds; what is no release is refused."""
    assert results.parsed(raw(ONE, "6.12.43+deb13-amd64"), "a").name == "Linux 6.12.43"
    with pytest.raises(Refused):
        results.load(written(tmp_path, "a.json", raw(ONE, "next")))


def test_bases_are_floors_or_a_process_that_does_nothing() -> None:
    """The floors in their order; a bare process only where no floor took part; else none."""
    benchmarks = [
        *ONE, *rounds("batch-1", "floor phased", 1.0), *rounds("batch-1", "python", 1.0),
        *rounds("import", "python isolated", 1.0), *rounds("import", "python", 1.0), *rounds("check", "go", 1.0),
    ]  # fmt: skip
    document = results.parsed(raw(benchmarks), "a")
    assert document.bases("batch-1") == ["floor plain", "floor phased"]
    assert document.bases("import") == ["python"]
    assert document.bases("check") == []


def test_cpu_time_of_uml_is_no_measurement() -> None:
    """Jiffies of 10 ms: there is neither a value nor a ratio, and the document shows wall time alone."""
    document = results.parsed(raw(ONE, uml=True), "a")
    assert document.name == "UML 6.18.44"
    assert document.metrics == (WALL,)
    assert document.value("batch-1", "floor plain", CPU) is None
    assert document.ratio("batch-1", "netdevns native", "floor plain", CPU) is None
    assert document.ratio("batch-1", "netdevns native", "floor plain", WALL)


def test_difference_is_that_of_each_round() -> None:
    """In the metric's own unit."""
    benchmarks = rounds("import", "python", 1.0) + rounds("import", "netdevns native", 1.0, max_rss_kib=21_024)
    value = results.parsed(raw(benchmarks), "a").difference("import", "netdevns native", "python", RSS)
    assert value
    assert value.median == 1024


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no document"),
        ("[]", "no document"),
        ('{"machine_info": {}, "benchmarks": []}', "no document"),
        ('{"machine_info": {"kernel": "6", "uml": false}, "benchmarks": [{}]}', "no document"),
        ('{"machine_info": {"kernel": "6", "uml": false}, "benchmarks": [3]}', "no document"),
        (None, "No such file"),
    ],
)
def test_file_that_is_no_document_is_refused(text: str | None, why: str, tmp_path: Path) -> None:
    """In one line that names it."""
    file = tmp_path / "x.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(Refused, match=why) as e:
        results.load(file)
    assert str(e.value).startswith(str(file))
    assert "\n" not in str(e.value)


def test_scenario_of_two_shapes_is_refused(tmp_path: Path) -> None:
    """Rounds of different sizes under one name cannot be compared."""
    document = raw([*rounds("batch-1", "go", 1.0), *rounds("batch-1", "floor plain", 1.0, devices=2)])
    with pytest.raises(Refused):
        results.load(written(tmp_path, "a.json", document))


def test_documents_come_in_the_order_of_kernels(tmp_path: Path) -> None:
    """The running one first, then User Mode Linux by version (6.9 before 6.12); the same kernel twice is refused."""
    names = [("c", "6.12.1", True), ("b", "6.9.3", True), ("a", "6.18.44", False)]
    files = [written(tmp_path, f"{name}.json", raw(ONE, kernel, uml)) for name, kernel, uml in names]
    assert [each.name for each in results.load_all(files)] == ["Linux 6.18.44", "UML 6.9.3", "UML 6.12.1"]
    with pytest.raises(Refused, match=r"a\.json, a\.json: the same kernel, Linux 6\.18\.44"):
        results.load_all([files[2], files[2]])


# ---- what is stored ----


def test_stored_results_are_those_of_the_document(tmp_path: Path) -> None:
    """Values, sizes, facts, and what was thrown out; the kernel without what a distribution adds."""
    lost = rounds("batch-1", "go", 9.0, verified=False, why="an address is missing")
    document = raw([*raw()["benchmarks"], *lost[:2]], kernel="6.12.43+deb13-amd64")
    (tmp_path / "a.json").write_text(store.text(store.stored(document)))
    found, wanted = results.load(tmp_path / "a.json"), results.parsed(document, "a.json")
    assert (found.name, found.machine, found.scenarios) == (wanted.name, wanted.machine, wanted.scenarios)
    assert found.dropped == wanted.dropped
    assert found.dropped
    assert found.series.keys() == wanted.series.keys()
    for key, values in wanted.series.items():
        for number, times in values.items():
            assert found.series[key][number] == pytest.approx(times, abs=1e-6)
    assert found.kernel == "6.12.43"


def test_stored_results_have_a_line_for_each_contestant() -> None:
    """So that a change is seen where it is."""
    text = store.text(store.stored(raw()))
    assert len([line for line in text.splitlines() if line.startswith("  ")]) == len(results.parsed(raw(), "a").series)


# ---- the spread and the fits ----


def test_spread_of_known_values() -> None:
    """Quartiles by linear interpolation, the ends, the number; of one value it has no width; of none there is none."""
    assert Spread.of([5, 1, 2, 4, 3]) == Spread(3, 2, 4, 1, 5, 5)
    assert Spread.of([7]) == Spread(7, 7, 7, 7, 7, 1)
    assert Spread.of([]) is None


def test_fit_of_a_line() -> None:
    """Slope and intercept; twice as many take twice as long where nothing is fixed."""
    fit = Fit.of([(1, 3.0), (2, 5.0), (10, 21.0)])
    assert fit
    assert (fit.slope_s, fit.fixed_s) == (pytest.approx(2), pytest.approx(1))
    assert fit.exponent < 1


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_exponent_is_the_power(power: float) -> None:
    """Of what grows with it."""
    fit = Fit.of([(n, 3.0 * n**power) for n in (1, 10, 100, 1000)])
    assert fit
    assert fit.exponent == pytest.approx(power)


def test_no_fit_of_one_size() -> None:
    """A line needs two."""
    assert Fit.of([(5, 1.0), (5, 2.0)]) is None


def test_cost_of_a_device_and_of_an_address() -> None:
    """Found again as they were put in, from the scenarios of the right family alone."""
    document = results.parsed(raw(), "a")
    device = results.per_device(document, "netdevns native", WALL)
    assert device
    assert device.slope_s == pytest.approx(0.8e-3 + 2e-5)
    assert device.fixed_s == pytest.approx(1e-4)
    assert [n for n, _ in device.points] == [1, 10, 60, 200]
    address = results.per_address(document, "netdevns native", CPU)
    assert address
    assert address.slope_s == pytest.approx(0.5e-5)
    assert [n for n, _ in address.points] == [1000, 10000]
    assert results.per_device(document, "netdevns hook", WALL) is None


def test_crowd_is_compared_with_the_same_alone() -> None:
    """Other devices and routes, each beside the batch of the same devices; not where that one is missing."""
    document = results.parsed(raw(), "a")
    assert [(a.id, b.id) for a, b in results.crowded(document)] == [
        ("target-1000", "batch-1"),
        ("routes-200000", "batch-1"),
    ]
    slow = cost(4e-3, 0)({"devices": 1, "ipv4": 0, "ipv6": 0})
    document = results.parsed(raw([*rounds("batch-1", "go", 2e-3), *rounds("target-1000", "go", slow)]), "a")
    growth = document.growth("target-1000", "batch-1", "go", WALL)
    assert growth
    assert growth.median == pytest.approx(2)
    assert results.crowded(results.parsed(raw(rounds("target-1000", "go", slow)), "a")) == []


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0"), (0.12345, "0.123"), (1.0, "1.00"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346")],
)
def test_numbers_have_three_digits(value: float, words: str) -> None:
    """And never an exponent."""
    assert results.number(value) == words


def test_ratios_are_written_as_they_are_asked_for() -> None:
    """As a number with its quartiles, as a fraction of one, as a limit."""
    value = Spread.of([0.05, 0.1, 0.2])
    assert results.spread(value) == "0.100 (0.0750 to 0.150)"
    assert results.inverse(value) == "1/10.0 (1/13.3 to 1/6.67)"
    assert results.spread(None) == "-"
    assert (results.limit("1/4"), results.limit(1.05)) == (0.25, 1.05)


def test_made_up_documents_are_json() -> None:
    """Other tests use them."""
    assert json.loads(json.dumps(raw())) == raw()
