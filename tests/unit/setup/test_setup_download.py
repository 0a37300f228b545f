"""Downloads against a server that misbehaves."""

from __future__ import annotations

import hashlib
import os
import random
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.errors import SetupError
from runner.setup.download import Download, Retry, Source

BODY = random.Random(0).randbytes(300_000)
SHA = hashlib.sha256(BODY).hexdigest()
FAST = Retry(attempts=3, pause_s=0.001, longest_pause_s=0.002, timeout_s=5)


@pytest.fixture
def fetch(site: Any, tmp_path: Path) -> Callable[..., tuple[str, list[tuple[str, int | None, int | None]]]]:
    """Download `/model` of the site (or other URLs) into `part`; returns the digest and what was told."""
    site.files["/model"] = BODY

    def run(*urls: str, sha256: str | None = SHA, size: int | None = None) -> Any:
        told: list[tuple[str, int | None, int | None]] = []
        source = Source(urls or (f"{site.url}/model",), sha256, size)
        tell = lambda *event: told.append(event)  # noqa: E731
        return Download("setup.weights", source, tmp_path / "x.part", tell, FAST).run(), told

    return run


def ranges(site: Any) -> list[str | None]:
    return [headers.get("range") for _, headers in site.requests]


def test_a_file_arrives_with_progress(site: Any, fetch: Any, tmp_path: Path) -> None:
    digest, told = fetch(size=len(BODY))
    assert digest == SHA
    assert (tmp_path / "x.part").read_bytes() == BODY
    assert told[-1] == ("downloading", len(BODY), len(BODY))
    assert site.requests[0][1]["accept-encoding"] == "identity"


def test_a_connection_dropped_thrice_is_resumed(site: Any, fetch: Any) -> None:
    site.faults = [1000, 2000, 3000]
    assert fetch()[0] == SHA
    assert ranges(site) == [None, "bytes=1000-", "bytes=3000-", "bytes=6000-"]
    assert {headers.get("if-range") for _, headers in site.requests[1:]} == {site.tag("/model")}


def test_a_partial_file_of_a_killed_run_is_continued(site: Any, fetch: Any, tmp_path: Path) -> None:
    site.faults = [1000, 0, 0, 0]
    with pytest.raises(SetupError, match="the connection ended after 1000 of 300000 bytes"):
        fetch()
    assert (tmp_path / "x.part").stat().st_size == 1000, "what arrived is kept"
    assert fetch()[0] == SHA
    assert ranges(site)[-1] == "bytes=1000-"


def test_a_server_without_ranges_starts_over(site: Any, fetch: Any) -> None:
    site.ranges, site.faults = False, [1000]
    assert fetch()[0] == SHA


def test_a_file_that_changed_meanwhile_comes_whole(site: Any, fetch: Any, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(b"old beginning")
    (tmp_path / "x.json").write_text('{"url": "%s/model", "validator": "\\"other\\""}' % site.url)  # noqa: UP031
    assert fetch(sha256=None)[0] == SHA
    assert ranges(site) == ["bytes=13-"]


def test_an_unpinned_file_without_validator_is_not_continued(site: Any, fetch: Any) -> None:
    site.tags, site.faults = False, [1000]
    assert fetch(sha256=None)[0] == SHA
    assert ranges(site) == [None, None]


def test_a_wrong_continuation_starts_over_before_it_is_refused(site: Any, fetch: Any, tmp_path: Path) -> None:
    site.tags = False
    (tmp_path / "x.part").write_bytes(b"bytes of another file")
    digest, told = fetch()
    assert digest == SHA
    assert any("from the start" in message for message, *_ in told)


@pytest.mark.parametrize("known_total", [True, False])
def test_a_complete_partial_file_needs_no_bytes(site: Any, fetch: Any, tmp_path: Path, known_total: bool) -> None:
    (tmp_path / "x.part").write_bytes(BODY)
    if not known_total:
        site.faults = [(416, {})]
    assert fetch()[0] == SHA
    assert len(site.requests) == (1 if known_total else 2)


def test_wrong_content_is_refused_and_removed(site: Any, fetch: Any, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=f"expected sha256 {'0' * 64}, got {SHA}"):
        fetch(sha256="0" * 64)
    assert not (tmp_path / "x.part").exists()


def test_a_wrong_size_is_refused_before_the_body(site: Any, fetch: Any) -> None:
    with pytest.raises(SetupError, match="`size` says 7 bytes, the file has 300000"):
        fetch(size=7)


def test_mirrors_are_tried_in_order_and_continue_each_other(site: Any, fetch: Any) -> None:
    site.files["/copy"] = BODY
    site.faults = [5000, (404, {})]
    assert fetch(f"{site.url}/model", f"{site.url}/copy")[0] == SHA
    assert [path for path, _ in site.requests] == ["/model", "/model", "/copy"]
    assert ranges(site)[-1] == "bytes=5000-"


def test_every_source_is_named_when_none_delivers(site: Any, fetch: Any, tmp_path: Path) -> None:
    urls = (f"{site.url}/gone", "http://127.0.0.1:1/closed", f"file://{tmp_path}/none", "ftp://x/y")
    with pytest.raises(SetupError) as caught:
        fetch(*urls)
    lines = caught.value.message.splitlines()
    assert lines[0] == "setup.weights: no source delivered the file"
    assert "HTTP 404" in lines[1]
    assert "Connection refused (tried 3 times" in lines[2]
    assert "No such file" in lines[3]
    assert "expected an http, https or file URL" in lines[4]


def test_the_token_of_a_url_is_told_nobody(site: Any, fetch: Any) -> None:
    with pytest.raises(SetupError, match=r"gone\?signature=\*\*\*&v=1: HTTP 404"):
        fetch(f"{site.url}/gone?signature=hunter2&v=1")


def test_a_busy_server_is_asked_again(site: Any, fetch: Any) -> None:
    site.faults = [(503, {"Retry-After": "0"}), (429, {})]
    _, told = fetch()
    assert len(site.requests) == 3 or pytest.fail(str(told))


def test_another_range_than_asked_for_is_not_believed(site: Any, fetch: Any, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(BODY[:1000])
    site.faults = [(206, {"Content-Range": "bytes 5-9/10"})]
    with pytest.raises(SetupError, match="another range than was asked for"):
        fetch()


def test_a_local_file_is_read(fetch: Any, tmp_path: Path) -> None:
    (tmp_path / "local file").write_bytes(BODY)
    assert fetch(f"file://{tmp_path}/local%20file")[0] == SHA


def test_no_room_is_noticed_before_the_body(fetch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.setup.download.free_bytes", lambda _: 1000)
    with pytest.raises(SetupError, match=r"293\.0 KiB still to come: the disk is full") as caught:
        fetch()
    assert "SCENARIO_HOME" in str(caught.value.hint)


def test_a_file_size_limit_is_told_and_the_rest_is_kept(fetch: Any, tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes the kernel refuse to write, as a full disk or a quota does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(SetupError, match="larger than is allowed"):
            fetch()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "x.part").stat().st_size == 100_000
    assert fetch()[0] == SHA


def test_other_write_errors_are_named(fetch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __enter__(self) -> Broken:
            return self

        def __exit__(self, *_: object) -> None:
            return

        def write(self, _: object) -> int:
            raise OSError(5, os.strerror(5))

    monkeypatch.setattr(Download, "_opened", lambda *_: Broken())
    with pytest.raises(SetupError, match="Input/output error"):
        fetch()
