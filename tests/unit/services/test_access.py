"""Whose headers and certificates a call carries."""

from __future__ import annotations

from runner.scenario.case import launch_of
from runner.scenario.schema import RemoteLaunch, Scenario, TlsSettings, Workload
from runner.services.access import headers_for, metadata_of, tls_for, wire_headers
from runner.services.base import Endpoint
from runner.services.tls import Tls

ENDPOINT = Endpoint("h:1", "g:1", tls=Tls("theirs"), headers=(("Authorization", "theirs"), ("X-Team", "a")))


def test_headers_are_added_and_the_workloads_win_in_whatever_case() -> None:
    workload = Workload(model="m", headers={"authorization": "mine", "X-Trace": "1"})
    assert headers_for(ENDPOINT, workload) == (("X-Team", "a"), ("authorization", "mine"), ("X-Trace", "1"))
    assert headers_for(Endpoint("", ""), Workload(model="m")) == ()


def test_the_workloads_certificates_take_the_place_of_the_endpoints() -> None:
    assert tls_for(ENDPOINT, Workload(model="m")) == Tls("theirs")
    mine = tls_for(ENDPOINT, Workload(model="m", tls=TlsSettings(verify=False)))
    assert mine == Tls("", verify=False)


def test_an_endpoint_does_not_show_its_headers() -> None:
    assert "theirs" not in repr(Endpoint("h:1", "g:1", headers=(("Authorization", "theirs"),)))


def test_a_remote_launch_is_reached_as_the_workload_is_sent() -> None:
    launch = {"kind": "remote", "url": "h", "headers": {"Authorization": "theirs", "X-Team": "a"}, "tls": {"ca": "/ca"}}
    workload = {"model": "m", "headers": {"authorization": "mine"}}
    document = {"scenario": 1, "name": "n", "targets": {"t": {"launch": launch}}, "workload": workload}
    reached = launch_of(Scenario.model_validate(document))
    assert isinstance(reached, RemoteLaunch)
    assert reached.headers == {"X-Team": "a", "authorization": "mine"}
    assert reached.tls == TlsSettings(ca="/ca")
    document["workload"] = workload | {"tls": {"verify": False}}
    reached = launch_of(Scenario.model_validate(document))
    assert isinstance(reached, RemoteLaunch)
    assert reached.tls == TlsSettings(verify=False)


def test_binary_metadata_are_bytes_and_travel_in_base64() -> None:
    metadata = metadata_of([("X-Trace-Bin", "a b"), ("X-Team", "A")])
    assert metadata == (("x-trace-bin", b"a b"), ("x-team", "A"))
    assert wire_headers(metadata) == (("x-trace-bin", "YSBi"), ("x-team", "A"))
