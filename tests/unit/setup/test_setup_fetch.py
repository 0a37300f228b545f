"""The fetch step: pinning, the shared cache, trust on first use, offline."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.errors import SetupError
from runner.locks import locked
from runner.scenario.schema import FetchStep, Scenario
from runner.setup.download import Retry
from runner.setup.fetch import Fetch
from runner.setup.prepare import plan_setup, prepare
from runner.setup.state import StateDirectory
from tests.contracts.step import StepContract, run

BODY = b"weights " * 5000
SHA = hashlib.sha256(BODY).hexdigest()
FAST = Retry(attempts=2, pause_s=0.001, longest_pause_s=0.001, timeout_s=5)


def config(url: str, **rest: Any) -> FetchStep:
    return FetchStep(kind="fetch", url=url, **rest)


@pytest.fixture
def url(site: Any) -> str:
    site.files["/some%20model.bin"] = BODY
    return f"{site.url}/some%20model.bin"


class TestContract(StepContract):
    @pytest.fixture
    def step(self, url: str, state: StateDirectory) -> Fetch:
        state.create()
        return Fetch("weights", config(url, sha256=SHA), state, retry=FAST)


@pytest.fixture
def scenario(url: str, make_scenario: Callable[..., Scenario]) -> Callable[..., Scenario]:
    """A scenario whose model file is downloaded."""

    def make(**rest: Any) -> Scenario:
        return make_scenario(setup={"weights": {"kind": "fetch", "url": url, **rest}})

    return make


def test_a_download_is_named_after_its_url_and_cached_for_all(scenario: Any, state: StateDirectory, site: Any) -> None:
    prepared = prepare(scenario(sha256=SHA), state)
    artifact = prepared.artifacts["weights"]
    assert (artifact.path.name, artifact.digest) == ("some model.bin", SHA)
    assert state.blob(SHA).stat().st_ino == artifact.path.stat().st_ino, "one copy on disk"
    other = StateDirectory.for_scenario("other", Path("/else.yaml"), state.home)
    prepare(scenario(sha256=SHA, filename="model.bin"), other)
    assert len(site.requests) == 1


def test_the_token_of_a_url_is_in_neither_the_log_nor_reproduce_sh(
    make_scenario: Any, state: StateDirectory, site: Any
) -> None:
    site.files["/m?token=hunter2"] = BODY
    step = {"kind": "fetch", "url": f"{site.url}/m?token=hunter2", "sha256": SHA}
    prepare(make_scenario(setup={"weights": step}), state)
    log, script = ((state.logs / name).read_text() for name in ("weights.log", "weights.reproduce.sh"))
    assert "hunter" not in log + script
    assert f"{site.url}/m?token=***" in script
    assert "# Secrets are not kept" in script


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/b.bin", "b.bin"),
        ("/a/b/", "b"),
        ("/a%2Fb.bin", "b.bin"),
        (r"/..%5Cb.bin", "b.bin"),
        ("/..", "download"),
        ("/a/%2e%2e", "download"),
        ("/a/.", "download"),
        ("/", "download"),
        ("", "download"),
        ("/a%00b", "download"),
        ("/a%0Ab", "download"),
        ("/.hidden", ".hidden"),
    ],
)
def test_the_name_of_a_file_is_one_whatever_the_url_ends_with(path: str, name: str, state: StateDirectory) -> None:
    step = Fetch("weights", config(f"https://host{path}", sha256=SHA), state)
    assert step.fingerprint({})["filename"] == name


def test_a_damaged_cache_is_not_believed(scenario: Any, state: StateDirectory, site: Any) -> None:
    state.blob(SHA).parent.mkdir(parents=True)
    state.blob(SHA).write_bytes(b"half a fi")
    prepare(scenario(sha256=SHA), state)
    assert state.blob(SHA).read_bytes() == BODY
    assert "damaged" in (state.logs / "weights.log").read_text()


def test_another_url_for_the_same_digest_changes_nothing(scenario: Any, state: StateDirectory) -> None:
    prepare(scenario(sha256=SHA), state)
    moved = scenario(sha256=SHA, mirrors=["http://127.0.0.1:1/elsewhere"])
    assert prepare(moved, state).reports[0].action == "reused"


def test_what_nobody_pinned_is_refused_before_anything_is_built(scenario: Any, state: StateDirectory) -> None:
    with pytest.raises(SetupError, match="is not pinned: expected `sha256:`, got none") as caught:
        prepare(scenario(), state)
    assert "--trust-first-use" in str(caught.value.hint)
    assert not list(state.artifacts.iterdir())
    assert plan_setup(scenario(), state)[0].action == "would build"


def test_trust_on_first_use_is_recorded_and_held_to(scenario: Any, state: StateDirectory, url: str, site: Any) -> None:
    prepare(scenario(), state, trust_first_use=True)
    assert json.loads(state.trusted.read_text()) == {url: SHA}
    assert prepare(scenario(), state).reports[0].action == "reused"
    state.blob(SHA).unlink()
    prepared = prepare(scenario(filename="again.bin"), state)
    assert prepared.artifacts["weights"].path.read_bytes() == BODY
    state.blob(SHA).unlink()
    site.files["/some%20model.bin"] = b"something else"
    with pytest.raises(SetupError, match=f"expected sha256 {SHA}, got "):
        prepare(scenario(filename="third.bin"), state, trust_first_use=True)


def test_an_unreadable_record_of_trust_is_named(scenario: Any, state: StateDirectory) -> None:
    state.create()
    state.trusted.write_text("{")
    with pytest.raises(SetupError, match=r"trusted.json: not readable as JSON"):
        prepare(scenario(), state)


def test_offline_lists_exactly_what_is_missing(make_scenario: Any, url: str, state: StateDirectory, site: Any) -> None:
    have = hashlib.sha256(b"have").hexdigest()
    state.blob(have).parent.mkdir(parents=True)
    state.blob(have).write_bytes(b"have")
    steps = {
        "weights": {"kind": "fetch", "url": url, "sha256": SHA},
        "have": {"kind": "fetch", "url": "http://127.0.0.1:1/have", "sha256": have, "always": True},
        "lack": {"kind": "fetch", "url": "http://127.0.0.1:1/lack", "sha256": "0" * 64, "always": True},
        "unneeded": {"kind": "fetch", "url": "http://127.0.0.1:1/other", "sha256": "1" * 64},
        "unpinned": {"kind": "fetch", "url": "http://127.0.0.1:1/unpinned", "always": True},
    }
    with pytest.raises(SetupError) as caught:
        prepare(make_scenario(setup=steps), state, offline=True, trust_first_use=True)
    assert sorted(caught.value.message.splitlines()[1:]) == [
        f"  setup.lack: http://127.0.0.1:1/lack -> {state.blob('0' * 64)}",
        "  setup.unpinned: http://127.0.0.1:1/unpinned -> (no sha256: it cannot be placed beforehand)",
        f"  setup.weights: {url} -> {state.blob(SHA)}",
    ]
    assert site.requests == []
    state.blob(SHA).parent.mkdir(parents=True)
    state.blob(SHA).write_bytes(BODY)
    pinned = {name: steps[name] for name in ("weights", "have")}
    prepare(make_scenario(setup=pinned), state, offline=True)
    local = {"weights": {"kind": "fetch", "url": state.blob(SHA).as_uri(), "sha256": SHA}}
    prepare(make_scenario(setup=local), state, offline=True)


def test_the_same_download_of_another_process_is_waited_for(url: str, state: StateDirectory, tmp_path: Path) -> None:
    state.create()
    step = Fetch("weights", config(url, sha256=SHA), state, retry=FAST)
    lock = state.downloads / "partial" / f"{SHA}.lock"
    lock.parent.mkdir(parents=True)
    seen: list[Any] = []
    with locked(lock):
        thread = threading.Thread(target=lambda: seen.append(run(step, {}, tmp_path / "work")))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        state.blob(SHA).parent.mkdir(parents=True)
        state.blob(SHA).write_bytes(BODY)
    thread.join(10)
    [(product, progress)] = seen
    assert product.path.read_bytes() == BODY
    assert "waiting for the same download" in progress[0].message


@pytest.mark.parametrize(("url", "name"), [("http://h/a/b.onnx?x=1", "b.onnx"), ("http://h/", "download")])
def test_file_names_come_from_the_url(url: str, name: str, state: StateDirectory) -> None:
    assert Fetch("x", config(url, sha256=SHA), state).fingerprint({})["filename"] == name
