"""A small scenario, a state directory, and an HTTP server that misbehaves on request."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from runner.scenario.schema import Scenario
from runner.setup.state import StateDirectory

CONFIG = """
backend: "python"
max_batch_size: 8
input [ { name: "X" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] } ]
"""

SCRIPT = """
import argparse, json, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--output", type=pathlib.Path)
parser.add_argument("--text", default="hello")
parser.add_argument("--file", type=pathlib.Path)
options = parser.parse_args()
print("writing", options.output.name)
options.output.write_text(options.text + (options.file.read_text() if options.file else ""))
sidecar = options.output.with_name(options.output.name + ".facts.json")
sidecar.write_text(json.dumps({"labels": {"weights": "random"}, "facts": {"length": len(options.text)}}))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def state(tmp_path: Path, home: Path) -> StateDirectory:
    return StateDirectory.for_scenario("small", tmp_path / "small.yaml", home)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "make.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """An ordinary Triton model folder, with the dirt that one finds there."""
    folder = tmp_path / "models" / "plain"
    (folder / "1" / "__pycache__").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(CONFIG)
    (folder / "1" / "model.py").write_text("# a model\n")
    (folder / "1" / "__pycache__" / "model.pyc").write_text("cache")
    (folder / "1" / "__pycache__" / "index").write_text("cache")
    (folder / ".DS_Store").write_text("dirt")
    return folder


@pytest.fixture
def make_scenario(script: Path, model_folder: Path) -> Callable[..., Scenario]:
    """A scenario with one export, one model that uses it; keyword arguments replace top-level keys."""

    def make(**changes: Any) -> Scenario:
        content: dict[str, Any] = {
            "scenario": 1,
            "name": "small",
            "setup": {"weights": {"kind": "export", "script": str(script), "args": {"text": "hello"}}},
            "repository": {
                "models": {"plain": {"from": str(model_folder), "files": {"1/weights.bin": "${setup.weights}"}}}
            },
            "workload": {"model": "plain"},
        }
        return Scenario.model_validate({**content, **changes})

    return make


SLOW = "import sys, time; open(sys.argv[2], 'w').write('half'); print('going', flush=True); time.sleep(60)"
PREPARE = """
import sys
from pathlib import Path
from runner.scenario.schema import Scenario
from runner.setup.prepare import prepare
from runner.setup.state import StateDirectory
folder = Path(sys.argv[1])
scenario = Scenario.model_validate_json((folder / "scenario.json").read_text())
state = StateDirectory.for_scenario("small", folder / "small.yaml", folder / "home")
prepare(scenario, state, on_progress=lambda p: print(p.message, flush=True))
"""


@pytest.fixture
def killed(make_scenario: Callable[..., Scenario], tmp_path: Path) -> Scenario:
    """A scenario whose setup was killed while its only step, the script `slow.py`, had written half of its output."""
    (tmp_path / "slow.py").write_text(SLOW)
    scenario = make_scenario(setup={"weights": {"kind": "export", "script": str(tmp_path / "slow.py")}})
    (tmp_path / "scenario.json").write_text(scenario.model_dump_json(by_alias=True))
    command = [sys.executable, "-c", PREPARE, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert "going\n" in process.stdout, "setup ended before its step began"
        process.kill()
    return scenario


@dataclass
class Site:
    """Files that a server offers, and how it misbehaves; one fault is used up by each request."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    tags: bool = True
    faults: list[Any] = field(default_factory=list)
    """An int cuts the body after so many bytes, a pair (status, headers) answers with that."""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def tag(self, path: str) -> str:
        return f'"{hash(self.files[path]):x}"'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        site = self.site
        site.requests.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
        fault = site.faults.pop(0) if site.faults else None
        if isinstance(fault, tuple):
            self._end(fault[0], fault[1], b"")
        elif self.path not in site.files:
            self._end(404, {}, b"")
        else:
            self._send(site.files[self.path], fault)

    def _send(self, body: bytes, cut: int | None) -> None:
        headers = {"ETag": self.site.tag(self.path)} if self.site.tags else {}
        start = self._start()
        if start is not None and start >= len(body):
            self._end(416, {"Content-Range": f"bytes */{len(body)}"}, b"")
            return
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self._end(206 if start else 200, headers, body[start or 0 :], cut)

    def _start(self) -> int | None:
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if not wanted or not self.site.ranges or (condition and condition != self.site.tag(self.path)):
            return None
        return int(wanted.removeprefix("bytes=").rstrip("-"))

    def _end(self, status: int, headers: dict[str, str], body: bytes, cut: int | None = None) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.close_connection = True


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield site
    server.shutdown()
    server.server_close()
