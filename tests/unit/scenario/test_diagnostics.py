"""How mistakes look."""

from __future__ import annotations

import json
import re
from pathlib import Path

from runner.scenario.diagnostics import CODES, Diagnostic, diagnose, did_you_mean, in_file_order, render
from runner.scenario.tree import Place, Source, option_place

SOURCE = Source("a.yaml", ("load:", "  {concurency: 4}", "x" * 400), Path())
PLACE = Place(SOURCE, 2, 4, 14)


def test_a_mistake_with_line_caret_and_remedy():
    found = diagnose("E110", PLACE, "unknown key `concurency`", address="load.concurency", hint="did you mean `x`?")
    assert render([found]) == (
        "error[E110] unknown key `concurency`\n"
        "  --> a.yaml:2:4  load.concurency\n"
        "2 |   {concurency: 4}\n"
        "  |    ^^^^^^^^^^ did you mean `x`?"
    )


def test_several_mistakes_related_places_and_options():
    option = option_place("--set", "a.b=1", Path())
    found = [
        diagnose("E103", PLACE, "twice", related=["first given at a.yaml:1:1"]),
        diagnose("E130", option, "unknown address", address="a.b"),
        Diagnostic("E101", "no text to show", hint="do this"),
    ]
    assert render(found) == (
        "error[E103] twice\n  --> a.yaml:2:4\n"
        "2 |   {concurency: 4}\n  |    ^^^^^^^^^^\n  = first given at a.yaml:1:1\n\n"
        "error[E130] unknown address\n  --> --set  a.b\n| a.b=1\n| ^^^^^\n\n"
        "error[E101] no text to show\n  = do this"
    )


def test_colour_only_adds_escapes():
    found = [diagnose("E110", PLACE, "unknown", hint="remedy")]
    coloured = render(found, color=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == render(found)


def test_a_very_long_line_is_cut_around_the_mistake():
    text = render([diagnose("E110", Place(SOURCE, 3, 300, 305), "unknown")])
    excerpt, carets = text.splitlines()[2:]
    assert len(excerpt) < 200
    assert carets.count("^") == 5


def test_for_machines():
    plain = diagnose("E110", PLACE, "unknown", address="load", related=["x"]).as_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert (plain["line"], plain["column"], plain["end_column"], plain["related"]) == (2, 4, 14, ["x"])


def test_order_and_repetition():
    early, late = Place(SOURCE, 1, 1, 2), PLACE
    other = Place(Source("b.yaml", (), Path()), 1, 1, 2)
    found = [diagnose("E110", each, "m") for each in (late, other, early, late)]
    assert [(each.file, each.line) for each in in_file_order(found)] == [("a.yaml", 1), ("a.yaml", 2), ("b.yaml", 1)]
    assert in_file_order(found, first="b.yaml")[0].file == "b.yaml"


def test_the_nearest_name_or_what_there_is():
    assert did_you_mean("bach", ["batch", "model"]) == "did you mean `batch`?"
    assert did_you_mean("zzz", ["batch", "model"]) == "known here: batch, model"
    assert did_you_mean("zzz", [str(each) for each in range(20)]).endswith(", …")
    assert did_you_mean("zzz", []) is None


def test_codes_are_unique_words():
    assert len(set(CODES.values())) == len(CODES)
