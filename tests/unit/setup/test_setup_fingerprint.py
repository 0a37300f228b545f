"""Fingerprints and digests: what they cover, and the sentence that says what changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from runner.results.files import sha256_of
from runner.setup import fingerprint as fp
from runner.setup.digest import DigestCache, combine, files_below

DIGESTS = ("a" * 64, "b" * 64)


def test_order_does_not_matter_and_every_value_does() -> None:
    assert fp.fingerprint({"a": "1", "b": "2"}) == fp.fingerprint({"b": "2", "a": "1"})
    assert fp.fingerprint({"a": "1", "b": "2"}) != fp.fingerprint({"a": "2", "b": "1"})


def test_flatten_keeps_empty_containers_and_types_apart() -> None:
    assert fp.flatten("c", {"a": {"b": 1, "e": {}}, "l": ["x", []]}) == {
        "c.a.b": "1",
        "c.a.e": "{}",
        "c.l.0": "x",
        "c.l.1": "[]",
    }
    assert fp.flatten("c", True) == {"c": "true"}
    assert fp.flatten("c", None) == {"c": "null"}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ({"args.seed": "0"}, {"args.seed": "1"}, "args.seed changed: 0 -> 1"),
        ({}, {"args.seed": "1"}, "args.seed added: 1"),
        ({"args.seed": "0"}, {}, "args.seed removed (was 0)"),
        ({"script": DIGESTS[0]}, {"script": DIGESTS[1]}, "script has other content"),
        ({"setup.onnx": DIGESTS[0]}, {"setup.onnx": DIGESTS[1]}, "setup.onnx was rebuilt"),
        ({"version of onnx": "1.0"}, {"version of onnx": "2.0"}, "version of onnx changed: 1.0 -> 2.0"),
        ({"args.api_key": "hush"}, {"args.api_key": "hush!"}, "args.api_key changed"),
        ({"url": "http://h/?token=hush"}, {"url": "http://h"}, "url changed: http://h/?token=*** -> http://h"),
        ({"version of tokenizers": "1"}, {"version of tokenizers": "2"}, "version of tokenizers changed: 1 -> 2"),
        ({"x": "1"}, {"x": "1"}, "same inputs"),
        ({}, dict.fromkeys("abcde", "1"), "a added: 1; b added: 1; c added: 1; and 2 more"),
        ({"x": "y" * 99}, {"x": DIGESTS[0]}, f"x changed: {'y' * 57}... -> {'a' * 12}"),
    ],
)
def test_explain_names_the_parts(old: dict[str, str], new: dict[str, str], sentence: str) -> None:
    assert fp.explain(old, new) == sentence
    assert fp.distance(old, new) == (0 if sentence == "same inputs" else max(len(old), len(new)))


def test_versions_of_what_a_script_imports(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os, numpy.linalg\ndef f():\n    from PIL import Image\nfrom . import x\n")
    assert fp.imported_distributions(script) == ("pillow", "numpy")
    assert set(fp.version_parts(("numpy", "no-such-thing"))) == {"version of numpy"}
    script.write_text("not python (")
    assert fp.imported_distributions(script) == ()


def test_a_tree_digest_covers_names_and_content(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a").write_text("1")
    (tmp_path / "sub" / "b").write_text("2")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert files_below(tmp_path) == ["a", "sub/b"]
    assert combine([("a", "x"), ("b", "y")]) == combine([("b", "y"), ("a", "x")]) != combine([("a", "y"), ("b", "x")])


def old_file(path: Path, text: str) -> Path:
    path.write_text(text)
    past = time.time() - 60
    os.utime(path, (past, past))
    return path


def test_the_digest_cache_reads_a_settled_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, store = old_file(tmp_path / "model", "content"), tmp_path / "digests.json"
    cache = DigestCache(store)
    digest = cache.file(path)
    assert digest == sha256_of(path)
    cache.save()
    monkeypatch.setattr("runner.setup.digest.sha256_of", lambda _: pytest.fail("was read again"))
    assert DigestCache(store).file(path) == digest


def test_the_digest_cache_notices_changes_and_distrusts_young_files(tmp_path: Path) -> None:
    path = old_file(tmp_path / "model", "content")
    cache = DigestCache(tmp_path / "digests.json")
    before = cache.file(path)
    path.write_text("CONTENT")
    assert cache.file(path) != before
    cache.save()
    path.write_text("content")
    assert DigestCache(tmp_path / "digests.json").file(path) == before


def test_a_damaged_or_unwritable_cache_is_only_slower(tmp_path: Path) -> None:
    store = tmp_path / "digests.json"
    store.write_text("[1, 2")
    path = old_file(tmp_path / "model", "content")
    cache = DigestCache(store)
    assert cache.file(path) == sha256_of(path)
    store.unlink()
    store.mkdir()
    (store / "in the way").write_text("")
    cache.save()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["digests.json", "model"]
