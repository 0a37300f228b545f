"""Free ports, and errors for those that are not."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import psutil
import pytest

from runner.errors import RigError
from runner.runtimes.ports import choose_ports


@pytest.fixture
def held() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_free_ports_differ_and_can_be_bound() -> None:
    ports = choose_ports({})
    assert len({ports.http, ports.grpc, ports.metrics}) == 3
    for port in (ports.http, ports.grpc, ports.metrics):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_ports_that_are_asked_for_are_used() -> None:
    free = choose_ports({}).http
    assert choose_ports({"metrics": free}).metrics == free


def test_a_taken_port_is_named_with_its_holder(held: int) -> None:
    with pytest.raises(RigError, match=rf"port {held} \(http\) is taken by .+ \(pid {os.getpid()}\)") as caught:
        choose_ports({"http": held})
    assert "server.flags.http-port" in (caught.value.hint or "")


def test_a_holder_that_may_not_be_seen_is_left_out(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(kind: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)
    with pytest.raises(RigError, match=rf"port {held} \(http\) is taken$"):
        choose_ports({"http": held})


def test_one_port_for_two_services_is_refused() -> None:
    with pytest.raises(RigError, match="one port to two services"):
        choose_ports({"http": 8000, "grpc": 8000})
