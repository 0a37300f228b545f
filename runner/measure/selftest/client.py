"""Row 16: a client that is stopped or starved must know it. The client is a process of its own, so that it can be.

`python -m runner.measure.selftest.client ADDRESS LOAD SECONDS` measures a load (JSON) and prints its flags (JSON).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from runner.measure.selftest.bench import Bench, Check, RowError, case
from runner.measure.selftest.script import Script
from runner.measure.selftest.scripted import MODEL, ScriptedServer, request
from runner.results.records import ModelStatistics
from runner.services.base import Endpoint
from runner.services.pipeline import Pipeline

LOADS: dict[str, dict[str, object]] = {
    "closed loop": {"concurrency": 4},
    "open loop": {"kind": "constant", "rate": "200/s"},
}
SECONDS = 4.0
WARMUP_S = 1.0
STOP_AFTER_S = 2.5
STOPPED_S = 1.0
BURNERS = 4


class Remote(ScriptedServer):
    """A scripted server that another process started; its counters stay there."""

    def __init__(self, address: str) -> None:
        super().__init__(Script())
        self.endpoint = Endpoint(http="127.0.0.1:1", grpc=address)

    def statistics(self, models: Sequence[str]) -> tuple[ModelStatistics, ...]:
        return ()


def measure(address: str, load: dict[str, object], seconds: float) -> list[str]:
    """Codes of the flags of a trial."""
    from runner.load.native import NativeEngine
    from runner.measure.orders import Orders, Requests, Target
    from runner.measure.trial import measure_case

    window = {"min": f"{seconds}s", "max": f"{seconds}s"}
    point = case(load, {}, {"window": window, "warmup": {"min_time": f"{WARMUP_S}s"}})
    remote = Remote(address)
    trial = measure_case(
        point,
        Target(engine=NativeEngine(), endpoint=remote.endpoint, service=remote, pipeline=Pipeline((MODEL,))),
        Requests([request()]),
        Orders(on_progress=_announce()),
    )
    if trial.failure is not None:
        raise RowError(trial.failure)
    return [flag.code for flag in trial.flags]


def _announce() -> Callable[[object], None]:
    """A callback that says once that the load runs."""
    said: list[bool] = []

    def on_progress(_: object) -> None:
        if not said:
            said.append(True)
            print("begun", flush=True)

    return on_progress


def disturbed(bench: Bench) -> list[Check]:
    """Stopped for a second; in an open loop also pinned to a core that others keep busy.

    A closed loop has no times of its own to be late for: what it loses to others on its core is for `foreign_load`.
    """
    checks = []
    for name, load in LOADS.items() if bench.full else [("open loop", LOADS["open loop"])]:
        with ScriptedServer(Script(servers=0)) as server:
            checks.append(_check(f"stopped for {STOPPED_S:g} s, {name}", _stopped(server, load)))
            if bench.full and "rate" in load:
                checks.append(_pinned_check(name, server, load))
    return checks


def _check(what: str, codes: list[str]) -> Check:
    return Check(what, "client_limited", ", ".join(codes) or "no flag", "", "client_limited" in codes)


def _pinned_check(name: str, server: ScriptedServer, load: dict[str, object]) -> Check:
    what = f"on a core with {BURNERS} busy loops, {name}"
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return Check(what, "client_limited", "this machine has only one core", "", None)
    return _check(what, _pinned(server, load, cores[-1]))


def _stopped(server: ScriptedServer, load: dict[str, object]) -> list[str]:
    with _client(server, load) as child:
        time.sleep(STOP_AFTER_S)
        os.kill(child.pid, signal.SIGSTOP)
        time.sleep(STOPPED_S)
        os.kill(child.pid, signal.SIGCONT)
        return _codes(child)


def _pinned(server: ScriptedServer, load: dict[str, object], core: int) -> list[str]:
    code = f"import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    burners = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(BURNERS)]
    try:
        with _client(server, load, core) as child:
            return _codes(child)
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


@contextmanager
def _client(
    server: ScriptedServer, load: dict[str, object], core: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A client whose load has begun."""
    arguments = [server.endpoint.grpc, json.dumps(load), str(SECONDS), "" if core is None else str(core)]
    command = [sys.executable, "-m", "runner.measure.selftest.client", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            if child.stdout.readline().strip() != "begun":
                raise RowError("the client process of the self-test did not begin; see what it wrote above")
            yield child
        finally:
            child.kill()


def _codes(child: subprocess.Popen[str]) -> list[str]:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise RowError("the client process of the self-test ended early; see what it wrote above")
    codes: list[str] = json.loads(line)
    return codes


def main() -> None:
    """The process."""
    address, load, seconds, core = sys.argv[1:]
    if core:
        # Every thread that the engine starts inherits it; those that libraries have started already are moved too.
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(thread.name), {int(core)})
    print(json.dumps(measure(address, json.loads(load), float(seconds))), flush=True)


if __name__ == "__main__":
    main()
