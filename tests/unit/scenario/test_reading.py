"""YAML text to a tree: YAML 1.2 scalars, places, and texts that must be refused."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.scenario.reading import MAX_BYTES, ReadError, core_scalar, lines_of, read_file, read_text
from runner.scenario.tree import Source


def read(text):
    diagnostics = []
    node = read_text(text, Source("x.yaml", lines_of(text), Path()), diagnostics)
    return node, diagnostics


def refused(text):
    with pytest.raises(ReadError) as caught:
        read(text)
    return caught.value.diagnostic


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("NO", "NO"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("12", 12),
        ("-3", -3),
        ("+7", 7),
        ("010", "010"),
        ("0o17", 15),
        ("0x1F", 31),
        ("1e3", 1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-1.5e-3", -0.0015),
        ("-.inf", -math.inf),
        ("12:30:45", "12:30:45"),
        ("2020-01-01", "2020-01-01"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("26.04-py3", "26.04-py3"),
        ("=", "="),
        ("'12'", "12"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("! 12", "12"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    node, diagnostics = read(f"k: {text}\n")
    found = node.child("k").value
    assert (found, type(found), diagnostics) == (value, type(value), [])


def test_nan_is_a_number():
    assert math.isnan(core_scalar(".nan"))


def test_keys_are_names_whatever_they_look_like():
    assert list(read("1: a\non: b\n~: c\n1.5: d\n")[0].plain()) == ["1", "on", "~", "1.5"]


def test_places_count_from_one_and_cover_the_text():
    node, _ = read("a:\n  b: [1, foo bar]\n  'c': {d: \"é\"}\n")
    item = node.find(("a", "b", 1)).place
    assert (item.line, item.column, item.end_column) == (2, 10, 17)
    assert str(item) == "x.yaml:2:10"
    quoted = node.find(("a", "c", "d"))
    assert (quoted.place.line, quoted.place.column, quoted.key.column) == (3, 12, 9)


def test_an_alias_repeats_a_value_at_its_own_place():
    node, _ = read("a: &x {k: 1}\nb: *x\n")
    assert node.plain() == {"a": {"k": 1}, "b": {"k": 1}}
    assert (node.child("b").place.line, node.child("b").place.column) == (2, 4)


def test_duplicate_keys_name_both_places_and_the_rest_is_read():
    node, (first, second) = read("a: 1\nb: {c: 1, c: 2}\na: 3\n")
    assert node.plain() == {"a": 1, "b": {"c": 1}}
    assert (first.code, first.line, first.column) == ("E103", 2, 11)
    assert (second.code, second.line, second.column, second.related) == ("E103", 3, 1, ("first given at x.yaml:1:1",))


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("a: 1\n<<: {b: 2}\n", 2, 1, "merge keys"),
        ("a: !!python/object:os.system {}\n", 1, 4, "the tag `!!python/object:os.system` is not allowed"),
        ("a: !!int '3'\n", 1, 4, "the tag `!!int`"),
        ("a: !mine [1]\n", 1, 4, "the tag `!mine`"),
        ("? [a, b]\n: 1\n", 1, 3, "expected a name as key"),
    ],
)
def test_features_that_scenarios_do_not_use(text, line, column, message):
    _, (only,) = read(text)
    assert (only.code, only.line, only.column) == ("E105", line, column)
    assert message in only.message


@pytest.mark.parametrize(
    ("text", "code", "line", "column", "words"),
    [
        ("a:\n\tb: 1\n", "E100", 2, 1, "indent with spaces"),
        ("a: b: c\n", "E100", 1, 5, "quote a text that holds"),
        ("a: [1,\n\n", "E100", 1, 7, "close the bracket"),
        ("a: 'x\n", "E100", 1, 6, "close the bracket or the quote"),
        ("a: @x\n", "E100", 1, 4, "quote the text"),
        ("a: *x\n", "E100", 1, 4, "the alias `*x` has no anchor"),
        ("a: {b: ${vars.x}}\n", "E100", 1, 9, "quote a reference inside braces"),
        ("a: 1\n b: 2\n", "E100", 2, 3, "check the indentation"),
        ("a: \x00\n", "E100", 1, 4, "control character U+0000"),
        ("a: 1\n--- \nb: 2\n", "E102", 2, 1, "a second one"),
        ("a: &x [*x]\n", "E104", 1, 8, "stands inside what it repeats"),
    ],
)
def test_texts_that_are_not_understood(text, code, line, column, words):
    found = refused(text)
    assert (found.code, found.line, found.column) == (code, line, column)
    assert words in f"{found.message} {found.hint}"


def test_an_alias_bomb_is_refused_at_once():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40)]
    started = time.perf_counter()
    found = refused("\n".join(lines))
    assert (found.code, found.line) == ("E104", 6)
    assert time.perf_counter() - started < 1.0


def test_depth_is_bounded_with_aliases_and_without():
    assert refused("a: " + "[" * 100_000).code == "E104"
    chain = "\n".join(["a0: &a0 [x]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 150))])
    assert refused(chain).code == "E104"


def test_a_number_of_many_digits_is_a_mistake_and_no_hang():
    _, (only,) = read(f"a: {'9' * 5000}\n")
    assert (only.code, only.line, only.column) == ("E113", 1, 4)


@pytest.mark.parametrize(
    ("content", "code", "line", "column", "words"),
    [
        (b"", "E102", 1, 1, "an empty file"),
        (b"# only a comment\n", "E102", 1, 1, "an empty file"),
        (b"- a\n- b\n", "E102", 1, 1, "got a list"),
        (b"hello\n", "E102", 1, 1, "got no map"),
        (b"a: 1\nb: caf\xe9\n", "E101", 2, 7, "the byte 0xe9"),
        ("a: 1".encode("utf-16"), "E101", 1, 1, "UTF-16"),
        (b"a: 1\n" + b"#" * MAX_BYTES, "E101", 1, 1, "1,000,000 bytes"),
    ],
)
def test_files_that_are_not_scenarios(tmp_path, content, code, line, column, words):
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(ReadError) as caught:
        read_file(path, "x.yaml", [])
    found = caught.value.diagnostic
    assert (found.code, found.line, found.column) == (code, line, column)
    assert words in found.message


def test_a_byte_order_mark_and_windows_lines_do_no_harm(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    node = read_file(path, "x.yaml", [])
    assert node.plain() == {"a": 1, "b": 2}
    assert (node.child("b").key.line, node.child("b").key.column) == (2, 1)


def test_a_folder_cannot_be_read(tmp_path):
    with pytest.raises(ReadError, match="cannot read the file"):
        read_file(tmp_path, "x.yaml", [])


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_read_or_refused_with_a_place(text):
    try:
        _, diagnostics = read(text)
    except ReadError as error:
        diagnostics = [error.diagnostic]
    for each in diagnostics:
        assert each.line >= 1
        assert each.column >= 1
