"""What a target's launch rules out, found before anything is started or connected to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from runner.errors import UsageError
from runner.scenario.case import launch_of
from runner.scenario.schema import DockerLaunch, RemoteLaunch, Scenario

if TYPE_CHECKING:
    from runner.scenario.case import Case


def check_launch(scenario: Scenario, kind: str) -> None:
    """Refuse a launch that the chosen runtime cannot follow, or that the workload could not reach."""
    launch, workload = launch_of(scenario), scenario.workload
    if launch.kind != kind:
        raise UsageError("an axis cannot change the kind of a launch", hint="write a target for each, and run both")
    if isinstance(launch, DockerLaunch) and launch.ipc != "host" and workload.shared_memory == "system":
        raise UsageError(
            "workload.shared_memory is `system`, but the container of this target has memory of its own",
            hint="set `ipc: host` in its launch, and `user` to yours",
        )
    if isinstance(launch, RemoteLaunch):
        _check_remote(scenario, launch)


def _check_remote(scenario: Scenario, launch: RemoteLaunch) -> None:
    workload, isolation = scenario.workload, scenario.server.isolation
    address = launch.grpc_address if workload.protocol == "grpc" else launch.http_address
    if address is None:
        raise UsageError(
            f"workload.protocol is `{workload.protocol}`, but the remote target has no such address",
            hint=f"add `{workload.protocol}: host:port` to its launch, or change the protocol",
        )
    if workload.shared_memory != "none" and not _is_this_machine(address):
        raise UsageError(
            f"workload.shared_memory is `{workload.shared_memory}`, but the server at {address} is elsewhere",
            hint="run `scenario` where the server runs, or remove shared_memory",
        )
    if isolation.between_points == "restart":
        raise UsageError(
            "server.isolation.between_points is `restart`, but a remote server is not started from here",
            hint="write `none`; or `reload` with `model_control: allowed` in its launch",
        )
    for key in ("between_points", "between_repeats"):
        if getattr(isolation, key) == "reload" and launch.model_control == "never":
            raise UsageError(
                f"server.isolation.{key} is `reload`, but this remote target may not load models",
                hint="write `none`, or set `model_control: allowed` in its launch",
            )


def check_takes_effect(cases: Sequence[Case]) -> None:
    """Refuse cases that differ in how one remote server is set up: the difference would be in the results by name only.

    Raises:
        UsageError: names what differs.
    """
    seen: dict[tuple[str, str], Any] = {}
    for case in cases:
        launch = launch_of(case.scenario)
        if case.skipped is not None or not isinstance(launch, RemoteLaunch):
            continue
        for what, value in _followed_by_no_remote(case.scenario, launch):
            if seen.setdefault((launch.address, what), value) != value:
                raise UsageError(
                    f"cases differ in `{what}`, which has no effect on a remote server: it runs already",
                    hint="remove that from the matrix; or start a server for each, and give each a target",
                )


def _followed_by_no_remote(scenario: Scenario, launch: RemoteLaunch) -> Iterator[tuple[str, Any]]:
    """Address -> what only a server that is started from here would follow."""
    from runner.setup.references import needed_steps

    plain = scenario.model_dump(mode="json", by_alias=True, include={"setup", "repository", "server", "workload"})
    yield "repository", plain["repository"]
    yield "server.flags", plain["server"]["flags"]
    if launch.model_control == "never":
        yield "server.load", plain["server"]["load"]
    always = tuple(name for name, step in scenario.setup.items() if step.always)
    sent = needed_steps(plain["setup"], plain["workload"], always)
    yield "setup", {name: step for name, step in plain["setup"].items() if name not in sent}


def _is_this_machine(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
