"""The engine knows when it was itself the slow one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

SCRIPT = """
from runner.load.native import NativeEngine
from runner.load.plan import Constant, LoadPlan, NullTransport, OpenLoop
load = OpenLoop(arrivals=Constant(rate=1000), max_in_flight=100000)
print("begun", flush=True)
result = NativeEngine().run(LoadPlan(transport=NullTransport(), schedule=load, max_duration_ns=1_200_000_000), [b"x"])
lag = max(s.send_lag.max_ns for s in result.slices if s.ok)
print(result.sent, max(s.stall_max_ns for s in result.slices), lag, result.dropped)
"""


def test_a_stopped_client_shows_as_a_stall_and_as_send_lag() -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.4)
        os.kill(child.pid, signal.SIGSTOP)
        time.sleep(0.5)
        os.kill(child.pid, signal.SIGCONT)
        sent, stall_ns, lag_ns, dropped = (int(word) for word in child.stdout.readline().split())
    assert stall_ns > 400_000_000
    assert lag_ns > 400_000_000, "what was due meanwhile is sent late, and says so"
    assert (sent, dropped) == (1200, 0)
