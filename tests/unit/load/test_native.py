from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from runner import _engine
from runner.errors import LoadError
from runner.load.engine import Engine, Slice
from runner.load.native import NativeEngine
from runner.load.plan import ClosedLoop, GrpcUnary, LoadPlan, NullTransport
from tests.contracts.engine import EngineContract


def null_plan(**changes: int) -> LoadPlan:
    return LoadPlan(transport=NullTransport(), schedule=ClosedLoop(concurrency=4), **changes)


PATIENCE_S = 10.0
"""What something may take on a busy machine."""


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def wait_for(condition: Callable[[], bool]) -> bool:
    """Whether it came to hold."""
    deadline = time.monotonic() + PATIENCE_S
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds


class TestContract(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return NativeEngine()

    @pytest.fixture
    def plan(self) -> LoadPlan:
        return null_plan()


class TestContractWithThreeWorkers(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return NativeEngine()

    @pytest.fixture
    def plan(self) -> LoadPlan:
        return null_plan(workers=3)


def test_no_connection_is_a_load_error_with_the_reason_of_the_system() -> None:
    plan = dataclasses.replace(null_plan(), transport=GrpcUnary(endpoint="127.0.0.1:9", method="/a.B/C"))
    with pytest.raises(LoadError, match=r"cannot connect to 127\.0\.0\.1:9: Connection refused") as caught:
        NativeEngine().run(plan, [b"x"])
    assert caught.value.hint


def test_an_unknown_host_is_a_load_error() -> None:
    plan = dataclasses.replace(null_plan(), transport=GrpcUnary(endpoint="no.such.host.invalid:1", method="/a.B/C"))
    with pytest.raises(LoadError, match=r"cannot connect to no\.such\.host\.invalid:1"):
        NativeEngine().run(plan, [b"x"])


def test_ctrl_c_lands_within_a_slice_and_leaves_no_thread() -> None:
    before = threads()
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        NativeEngine().run(null_plan(), [b"x"])
    assert time.monotonic() - begun < PATIENCE_S, "the load itself has no end"
    assert wait_for(lambda: threads() == before)


def test_an_exception_leaves_no_thread() -> None:
    before = threads()

    def on_slices(_: Sequence[Slice]) -> bool:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        NativeEngine().run(null_plan(workers=2), [b"x"], on_slices)
    assert wait_for(lambda: threads() == before)


def test_other_threads_run_while_the_load_does() -> None:
    ticks = 0

    def count() -> None:
        nonlocal ticks
        while not done.wait(0.005):
            ticks += 1

    done = threading.Event()
    thread = threading.Thread(target=count)
    thread.start()
    NativeEngine().run(null_plan(max_duration_ns=int(PATIENCE_S * 1e9)), [b"x"], lambda _: ticks > 10)
    seen = ticks
    done.set()
    thread.join()
    assert seen > 10


def test_the_pool_knows_its_size() -> None:
    pool = _engine.PayloadPool([b"ab", b"", b"cde"])
    assert (len(pool), pool.nbytes) == (3, 5)
    with pytest.raises(TypeError):
        _engine.PayloadPool(["text"])  # type: ignore[list-item]


def test_the_plan_refuses_unknown_fields_by_path() -> None:
    text = null_plan().to_json().replace('"concurrency":4', '"concurrency":4,"speed":1')
    with pytest.raises(_engine.PlanError, match=r"^schedule: unknown field `speed`"):
        _engine.run(text, _engine.PayloadPool([b"x"]))


def test_cpu_time_of_the_workers_is_measured() -> None:
    seen: list[Slice] = []

    def on_slices(fresh: Sequence[Slice]) -> bool:
        seen.extend(fresh)
        return sum(slice_.cpu_ns for slice_ in seen) > 100_000_000

    result = NativeEngine().run(null_plan(max_duration_ns=int(PATIENCE_S * 1e9)), [b"x"], on_slices)
    assert 100_000_000 < sum(slice_.cpu_ns for slice_ in (*seen, *result.slices)) <= 1.05 * result.elapsed_ns
