"""Mistakes in `tune`: code, line, column, words and hint."""

from __future__ import annotations

import pytest

from runner.errors import ScenarioError
from runner.scenario.loading import load_scenario
from runner.tune.checks import check_goals

HEAD = "scenario: 1\nname: t\nworkload: {model: m}\nserver: {flags: {mode: x}}\ntune:\n  space:\n"
"""Six lines, so what a row adds starts in line 7."""
SPACE = "    load.concurrency: {pow2: [1, 8]}\n"

ROWS = [
    ("    load.concurency: [1, 2]\n", "E130", 7, 5, "unknown address `load.concurency`", "`load.concurrency`"),
    ("    load.concurrency: [1, 0, 4]\n", "E113", 7, 27, "expected at least 1, got 0", None),
    ("    load.concurrency: {int: [1, 200000]}\n", "E113", 7, 23, "expected at most 100000", None),
    ("    measure.drain: [1s, 5]\n", "E114", 7, 25, "got the bare number 5", "write 5s"),
    ("    measure.drain: {int: [1, 9]}\n", "E114", 7, 20, "got the bare number 1", "write 1s"),
    ("    measure.drain: {int: [1, 9], unit: sec}\n", "E113", 7, 40, "expected one of h, m, s", None),
    ("    load.concurrency: [1, 2, 1]\n", "E131", 7, 30, "the value 1 is given twice", "remove one of them"),
    ("    workload.headers.Cookie: [a, b]\n", "E131", 7, 5, "holds a secret", "compare the values with `matrix`"),
    ("    load.concurrency: {pow: [1, 2]}\n", "E112", 7, 23, "expected `[a, b]`, `{choice: [a, b]}`", "`pow2`"),
    (
        "    load.concurrency: {choice: [1, 2], when: workload.bach > 1}\n",
        "E132",
        7,
        46,
        "`workload.bach`",
        "workload.batch",
    ),
    ("    load.concurrency: {choice: [1, 2], when: workload.batch}\n", "E132", 7, 46, "expected a comparison", None),
    (
        SPACE + "  exclude: [load.concurrency > 5s]\n",
        "E132",
        8,
        30,
        "units do not fit",
        "write the number with its unit",
    ),
    (SPACE + "  exclude: ['load.concurrency >']\n", "E132", 8, 32, "expected a value, got the end", None),
    (SPACE + "  objectives: {throughputt: max}\n", "E133", 8, 16, "no metric `throughputt`", "`throughput`"),
    (SPACE + "  objectives: {latency.p98: min}\n", "E133", 8, 16, "does not report `latency.p98`", "add 98 to it"),
    (SPACE + "  constraints: [latency.p99 <= 50]\n", "E132", 8, 29, "units do not fit: a duration and a plain", "5s"),
    (SPACE + "  constraints: [latency.p97 <= 50ms]\n", "E133", 8, 17, "does not report", "add 97 to it"),
    (SPACE + "  constraints: [latenci.p99 <= 50ms]\n", "E133", 8, 17, "no metric `latenci.p99`", "`latency.p99`"),
    (SPACE + "  constraints: [throughput]\n", "E132", 8, 17, "expected a comparison", None),
    (SPACE + "  constraints: [errors == 0 and]\n", "E132", 8, 32, "expected a value, got the end", None),
    (
        SPACE + "  strategy: {start: [{load.conc: 4}]}\n",
        "E130",
        8,
        23,
        "`load.conc` is not in `tune.space`",
        "concurrency",
    ),
    (SPACE + "  strategy: {start: [{load.concurrency: 0}]}\n", "E113", 8, 41, "expected at least 1", None),
    (
        "    server.flags.s: {float: [0, 1]}\n  strategy: {kind: grid}\n",
        "E131",
        7,
        21,
        "every number of an",
        "add `step`",
    ),
    ("    load.concurrency: {int: [1, 10001]}\n  strategy: {kind: grid}\n", "E131", 8, 20, "got 10,001", "halton"),
]


def mistakes(tmp_path, text: str):
    path = tmp_path / "s.yaml"
    path.write_text(HEAD + text, encoding="utf-8")
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path, env={}, further=(check_goals,))
    return caught.value.diagnostics


@pytest.mark.parametrize(("text", "code", "line", "column", "message", "hint"), ROWS)
def test_mistakes(tmp_path, text, code, line, column, message, hint) -> None:
    (only,) = mistakes(tmp_path, text)
    assert (only.code, only.line, only.column) == (code, line, column)
    assert message in only.message
    assert hint is None or hint in str(only.hint)


def test_conditions_may_not_go_round(tmp_path) -> None:
    text = (
        "    server.flags.a: {choice: [1], when: server.flags.b == 1}\n"
        "    server.flags.b: {choice: [1], when: server.flags.a == 1}\n"
    )
    (only,) = mistakes(tmp_path, text)
    assert only.code == "E121"
    assert "server.flags.a -> server.flags.b -> server.flags.a" in only.message


def test_all_mistakes_come_at_once(tmp_path) -> None:
    text = "    load.concurency: [1, 2]\n    workload.batch: [0, 1]\n"
    text += "  objectives: {speed: max}\n  constraints: [p99 < 5]\n"
    assert [each.code for each in mistakes(tmp_path, text)] == ["E130", "E113", "E133", "E132"]


def test_a_value_is_tried_where_its_condition_holds(tmp_path) -> None:
    """By itself 2s is less than the file's own `min`."""
    path = tmp_path / "s.yaml"
    text = "    measure.window.min: [1s, 3s]\n    measure.window.max: {choice: [2s], when: measure.window.min == 1s}\n"
    tail = "measure: {window: {min: 4s, max: 9s}}\n"
    path.write_text(HEAD + text + tail)
    load_scenario(path, env={}, further=(check_goals,))
    (only,) = mistakes(tmp_path, text.replace("== 1s", "== 3s") + tail)
    assert (only.code, only.line) == ("E113", 8)


def test_one_address_may_not_lie_inside_another(tmp_path) -> None:
    (only,) = mistakes(tmp_path, "    server.flags: [{a: 1}, {a: 2}]\n    server.flags.mode: [x, y]\n")
    assert (only.code, only.line) == ("E131", 8)
    assert "`server.flags` already sets `server.flags.mode`" in only.message


def test_a_whole_study_loads(tmp_path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        HEAD
        + """    load.concurrency: {int: [1, 512], log: true}
    server.flags.mode: [x, y]
    server.flags.depth: {pow2: [1, 8], when: "server.flags.mode == 'y'"}
    measure.drain: {float: [0.5, 4], unit: s}
  exclude: ["load.concurrency > 256 and server.flags.mode == 'x'", "server.flags.depth == 8"]
  objectives: {throughput: {direction: max, weight: 2}, latency.p99: min}
  constraints: ["latency.p99 <= 50ms", "errors == 0", "throughput >= 50/s", "gpu.memory.peak <= 20GiB"]
  strategy: {kind: tpe, start: [{load.concurrency: 64, server.flags.mode: y}]}
"""
    )
    tune = load_scenario(path, env={}, further=(check_goals,)).scenario.tune
    assert tune is not None
    assert len(tune.space) == 4
