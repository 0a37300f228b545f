"""Contexts of the Docker command line: which one rules, and what is wrong with one that names no engine."""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.errors import RigError
from runner.runtimes.docker.engine import connect
from runner.runtimes.doctor.contexts import Context, Material, chosen
from runner.runtimes.doctor.engines import Answer, engine, look
from tests.unit.services.kserve_http_server import Certificates, make_certificates

Make = Callable[..., Path]


def context_folder(folder: Path, kind: str, name: str) -> Path:
    return folder / "contexts" / kind / hashlib.sha256(name.encode()).hexdigest()


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Writes a context as the command line does; this user's own settings are out of sight."""
    # The last two: the SDK's HTTP library believes them before the certificates that it is given.
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))

    def write(name: str, host: str, *, current: bool = False, skip: bool = False) -> Path:
        path = context_folder(tmp_path, "meta", name) / "meta.json"
        path.parent.mkdir(parents=True)
        endpoint = {"Host": host, "SkipTLSVerify": skip}
        path.write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}}))
        if current:
            (tmp_path / "config.json").write_text(json.dumps({"auths": {}, "currentContext": name}))
        return path

    return write


def test_who_chooses_the_engine(make: Make, tmp_path: Path) -> None:
    here = {"DOCKER_CONFIG": str(tmp_path)}
    assert chosen(here) is None
    make("colima", "unix:///colima.sock", current=True)
    make("far", "ssh://me@far")
    assert chosen(here) == Context("colima", "unix:///colima.sock")
    assert chosen({**here, "DOCKER_CONTEXT": "far"}) == Context("far", "ssh://me@far")
    assert chosen({**here, "DOCKER_CONTEXT": "default"}) is None
    assert chosen({**here, "DOCKER_CONTEXT": "far", "DOCKER_HOST": "unix:///other.sock"}) is None


def test_without_a_wish_the_folder_of_the_user_is_read(make: Make, tmp_path: Path, monkeypatch: Any) -> None:
    make("colima", "unix:///colima.sock", current=True)
    (tmp_path / "home").mkdir()
    for name in ("config.json", "contexts"):
        shutil.move(tmp_path / name, tmp_path / "home" / name)
    (tmp_path / "home").rename(tmp_path / ".docker")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert chosen({}) == Context("colima", "unix:///colima.sock")


def test_a_context_that_is_not_there(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "gone")
    fault = f"there is no such context in {tmp_path}/contexts"
    assert look() == (Answer("", "unknown", fault, "gone"),)
    finding = engine(look())
    assert finding.detail == f"a Docker engine is needed, none answers ((context gone): {fault})"
    assert (finding.remedy or "").startswith("choose another context (docker context ls")
    with pytest.raises(RigError, match=r"no Docker engine answers \(\(context gone\): there is no such") as caught:
        connect()
    assert caught.value.hint == finding.remedy


@pytest.mark.parametrize("content", ["{", "[]", '{"Endpoints": {"kubernetes": {}}}'])
def test_a_context_that_names_no_engine(make: Make, content: str) -> None:
    path = make("odd", "unix:///x", current=True)
    path.write_text(content)
    [answer] = look()
    assert answer.state == "unknown"
    assert answer.said.startswith(f"{path} names no engine (")


def test_settings_that_cannot_be_read(make: Make, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    found = chosen({"DOCKER_CONFIG": str(tmp_path)})
    assert found
    assert found.fault.startswith(f"{tmp_path}/config.json cannot be read: ")


def test_a_context_that_points_nowhere_does_not_fall_back(make: Make, tmp_path: Path) -> None:
    make("colima", f"unix://{tmp_path}/none.sock", current=True)
    [answer] = look()
    assert (answer.state, answer.text) == ("absent", f"unix://{tmp_path}/none.sock (context colima)")
    with pytest.raises(RigError, match=r"none\.sock \(context colima\): No such file") as caught:
        connect()
    assert (caught.value.hint or "").startswith("start the engine of the context colima")


# --- TLS ----------------------------------------------------------------------------------------------------------


class _Engine(http.server.BaseHTTPRequestHandler):
    """Answers what the SDK asks when it connects."""

    def do_GET(self) -> None:
        body = json.dumps({"ApiVersion": "1.41", "Version": "28"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def guarded(certificates: Certificates) -> Iterator[str]:
    """An engine that wants to know who calls: `tcp://` address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Engine)
    server.socket = certificates.context(mutual=True).wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"tcp://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def give(folder: Path, certificates: Certificates, ca: str = "ca.crt") -> Path:
    """Put the certificates where the command line keeps those of the context `guarded`."""
    target = context_folder(folder, "tls", "guarded") / "docker"
    target.mkdir(parents=True)
    for source, name in ((ca, "ca.pem"), ("client.crt", "cert.pem"), ("client.key", "key.pem")):
        shutil.copy(certificates.folder / source, target / name)
    return target


def test_certificates_of_the_context_are_shown_and_asked_for(
    make: Make, guarded: str, certificates: Certificates, tmp_path: Path
) -> None:
    pytest.importorskip("docker")
    make("guarded", guarded, current=True)
    with pytest.raises(RigError, match=r"tcp://127.* \(context guarded\)"):
        connect()
    folder = give(tmp_path, certificates)
    found = chosen({"DOCKER_CONFIG": str(tmp_path)})
    assert found
    assert found.tls == Material(f"{folder}/ca.pem", f"{folder}/cert.pem", f"{folder}/key.pem")
    assert connect().version()["Version"] == "28"


@pytest.mark.parametrize("skip", [False, True])
def test_another_authority_is_believed_only_where_the_context_says_so(
    make: Make, guarded: str, certificates: Certificates, tmp_path: Path, skip: bool
) -> None:
    pytest.importorskip("docker")
    make("guarded", guarded, current=True, skip=skip)
    give(tmp_path, certificates, ca="stranger.crt")
    if skip:
        assert connect().version()["Version"] == "28"
    else:
        with pytest.raises(RigError, match=r"(?i)certificate verify failed"):
            connect()
