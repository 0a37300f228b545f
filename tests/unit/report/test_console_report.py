from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.report.console import Notes, console_table
from runner.results.records import Estimate, Flag, Percentile
from runner.results.run import PlannedCase, Run
from tests.unit.results.sample_run import CASES, NOTE, RESOLVED, create, model, small_run, summary, trial

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return small_run(tmp_path_factory.mktemp("runs")).load()


def of(tmp_path: Path, case: PlannedCase = CASES[0], **changes: Any) -> str:
    directory = create(tmp_path)
    with directory.writer() as writer:
        writer.begin([case])
        writer.append(trial(case, **changes))
    return console_table(directory.load())


def test_it_fits_a_hundred_columns(run: Run) -> None:
    assert max(map(len, console_table(run).splitlines())) <= 100


def test_color_adds_only_escape_codes(run: Run) -> None:
    colored, plain = console_table(run, color=True), console_table(run, color=False)
    assert "\x1b[" not in plain
    assert "\x1b[33m" in colored
    assert [line.rstrip() for line in ESCAPE.sub("", colored).splitlines()] == plain.splitlines()


def test_no_color_in_the_environment_changes_nothing_here(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = console_table(run)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "20")
    assert console_table(run) == plain


@pytest.mark.parametrize(
    ("width", "has", "lacks"),
    [
        (200, ["preprocess %", "classify %", "±"], []),
        (100, ["preprocess %", "classify %", "±"], []),
        (80, ["prepr… %", "class… %"], ["preprocess %"]),
        (70, ["±  p50 ms"], ["% "]),
        (60, ["p50 ms"], ["±  p50"]),
        (30, ["p50 ms", "≥26.00"], ["±  p50"]),
    ],
)
def test_narrow_terminals_lose_columns_but_never_digits(run: Run, width: int, has: list[str], lacks: list[str]) -> None:
    text = console_table(run, width=width)
    table = text[: text.index("\na  ")]
    assert [word for word in has if word not in table] == []
    assert [word for word in lacks if word in table.replace("2.0% ", "")] == []
    for number in ("100.0", "123.5", "800.0", "18.00", "≥26.00"):
        assert number in table
    if width >= 60:
        assert max(map(len, text.splitlines())) <= width


def test_each_kind_of_remark_is_explained_once(run: Run) -> None:
    text = console_table(run)
    assert text.count("a  precision_unmet: p95 is known to ±3.10 % where 3.00 % was asked for (and 1 more point)") == 1
    assert "b  client_limited: the client used 97 % of a core; give it more cores" in text
    assert "d  skipped: matrix.skip:" in text
    assert "labels: weights: random" in text


def test_many_remarks_get_letters_and_then_numbers() -> None:
    notes = Notes()
    assert [notes.mark(f"code{n}", "x") for n in (0, 1, 25, 0)] == ["a", "b", "c", "a"]
    marks = [notes.mark(f"more{n}", "x") for n in range(25)]
    assert marks[-2:] == ["n26", "n27"]
    assert notes.lines()[0] == "a  code0: x (and 1 more point)"


def test_a_percentile_without_any_bound_is_marked_as_such(tmp_path: Path) -> None:
    text = of(tmp_path, summary=summary(percentiles=(Percentile(99.0, Estimate(30.0, None, None), 20.0),)))
    assert "~30.00" in text
    assert "~  too few independent requests for any bound" in text


def test_unreported_percentiles_come_from_the_histogram(tmp_path: Path) -> None:
    text = of(tmp_path, summary=summary(percentiles=()))
    assert "9.50" in text
    assert "≥" not in text


def test_an_interval_that_is_unknown_is_blank(tmp_path: Path) -> None:
    text = of(tmp_path, summary=summary(inferences_per_s=Estimate(12.0)))
    assert "12.00" in text
    assert "2.0%" not in text


def test_other_axes_get_columns_of_their_own(tmp_path: Path) -> None:
    address = "repository.models.classify.config.instance_group.0.count"
    case = PlannedCase(
        "x", {address: 2, "workload.batch": 4}, "tiny", "grpc", 4, {"kind": "concurrency", "concurrency": 8}
    )
    header, _, row = of(tmp_path, case).splitlines()[2:5]
    assert header.split()[:3] == ["count", "batch", "conc."]
    assert row.split()[:3] == ["2", "4", "8"]


def test_many_models_share_one_column(tmp_path: Path) -> None:
    parts = [model(name, 0, infer) for name, infer in (("a", 100), ("b", 300), ("c", 500), ("much_too_long_name", 85))]
    text = of(tmp_path, server=(model("tiny", 0, 1000), *parts))
    assert "c 49%, b 30%" in text
    nothing = of(tmp_path, server=(model("tiny", 0, 1000), *(model(n, 0, -15) for n in "abcd")))
    assert "compute" in nothing


def test_a_model_alone_has_no_shares(tmp_path: Path) -> None:
    assert "%  share" not in of(tmp_path, server=(model("tiny", 0, 1000),))


def test_labels_are_those_that_hold_for_every_point(tmp_path: Path) -> None:
    directory = create(tmp_path)
    with directory.writer() as writer:
        writer.begin(CASES[:2])
        writer.append(trial(CASES[0], labels={"weights": "random", "bytes": "1", "digest": "0" * 64}))
        writer.append(trial(CASES[1], labels={"weights": "random", "bytes": "2", "digest": "0" * 64}))
    assert console_table(directory.load()).endswith("labels: weights: random\n")


def test_a_message_that_ends_with_a_full_stop_reads_well_with_a_count() -> None:
    notes = Notes()
    notes.mark("cold", "Too cold.")
    notes.mark("cold", "Too cold.")
    assert notes.lines() == ["a  cold: Too cold (and 1 more point)"]


def test_markup_in_messages_is_shown_as_it_is(tmp_path: Path) -> None:
    flag = Flag("errors", 1.0, 0.0, "informs", "[red]not markup[/red] :smile:")
    assert "[red]not markup[/red] :smile:" in of(tmp_path, flags=(flag, NOTE))


def test_what_a_killed_or_moved_run_went_through_is_said(tmp_path: Path) -> None:
    directory = create(tmp_path)
    with directory.writer() as writer:
        writer.write_resolved(RESOLVED)
        writer.update(environment={"kernel": "1"})
        writer.begin(CASES)
    with directory.writer() as writer:
        writer.resume(writer.directory.load().manifest.scenario.digest, RESOLVED, {"kernel": "2"})
    with directory.journal_path.open("a") as stream:
        stream.write('{"kind":')
    text = console_table(directory.load())
    assert "in a changed environment: kernel: 1 -> 2" in text
    assert "journal: line 3 was cut short after 8 bytes and is ignored" in text


@pytest.mark.parametrize(
    ("load", "has", "lacks"),
    [
        ({"kind": "poisson", "rate": "50/s", "max_in_flight": 10}, ["rate", "50/s"], ["conc."]),
        ({"kind": "periodic", "start": 2, "end": 8, "step": 3}, ["conc.", "2-8"], ["rate"]),
        ({"kind": "intervals", "file": "gaps", "max_in_flight": 10}, ["conc."], ["rate"]),
    ],
)
def test_the_load_has_the_column_of_its_kind(
    tmp_path: Path, load: dict[str, Any], has: list[str], lacks: list[str]
) -> None:
    text = of(tmp_path, replace(CASES[0], load=load))
    assert all(word in text for word in has)
    assert not any(word in text for word in lacks)
