"""`launch: {kind: remote}`: ways to say where the server is."""

from __future__ import annotations

from typing import Any

import pytest

from runner.errors import ScenarioError
from runner.scenario.schema import RemoteLaunch

HEAD = "scenario: 1\nname: t\nworkload: {model: m}\ntargets: {far: {launch: "


@pytest.mark.parametrize(
    ("launch", "grpc", "http", "metrics"),
    [
        ({"url": "h"}, "h:8001", "h:8000", "http://h:8002/metrics"),
        ({"url": "[::1]"}, "[::1]:8001", "[::1]:8000", "http://[::1]:8002/metrics"),
        ({"url": "h:9"}, "h:9", None, None),
        ({"url": "[::1]:9"}, "[::1]:9", None, None),
        ({"http": "h:80"}, None, "h:80", None),
        ({"url": "h", "grpc": "g:1", "metrics": "https://m/x"}, "g:1", "h:8000", "https://m/x"),
    ],
)
def test_addresses(launch: dict[str, Any], grpc: str | None, http: str | None, metrics: str | None) -> None:
    found = RemoteLaunch.model_validate({"kind": "remote", **launch})
    assert (found.grpc_address, found.http_address, found.metrics_url) == (grpc, http, metrics)
    assert found.address == (grpc or http)


@pytest.mark.parametrize(
    ("launch", "address", "words"),
    [
        ("{kind: remote}", "targets.far.launch", "expected where the server is"),
        ("{kind: remote, url: 'http://h:8000'}", "targets.far.launch.url", "expected `host` or `host:port`"),
        ("{kind: remote, grpc: h}", "targets.far.launch.grpc", "expected `host:port`"),
        ("{kind: remote, url: h, metrics: 'h:8002'}", "targets.far.launch.metrics", "expected a URL that begins with"),
        ("{kind: remote, url: h, model_control: yes}", "targets.far.launch.model_control", "never"),
        ("{kind: remote, url: h, tls: {ca: no.pem}}", "targets.far.launch.tls.ca", "there is no file"),
        ("{kind: far, url: h}", "targets.far.launch.kind", "remote"),
        ("{url: h}", "targets.far.launch.kind", "missing key `kind`"),
        ("{program: bin/tritonserver}", "targets.far.launch.program", "expected an absolute path or a name on PATH"),
    ],
)
def test_mistakes_are_told_where_they_are(desk: Any, launch: str, address: str, words: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        desk.load(f"{HEAD}{launch}}}}}\n")
    (mistake,) = caught.value.diagnostics
    assert mistake.address == address
    assert words in mistake.message + (mistake.hint or "")
