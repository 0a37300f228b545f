"""What the engine reaches on this machine when the server costs nothing: measured rates are held against it."""

from __future__ import annotations

from runner.load.engine import Engine
from runner.load.plan import ClosedLoop, LoadPlan, NullTransport

CEILING_S = 0.3


def engine_ceiling_per_s(
    engine: Engine, concurrency: int, cpus: tuple[int, ...] = (), seconds: float = CEILING_S
) -> float:
    """Requests per second with a transport that answers at once; what `measure_case` takes as `ceiling_per_s`.

    `cpus`: those that the load's threads are pinned to, because the ceiling is theirs.
    """
    plan = LoadPlan(
        transport=NullTransport(),
        schedule=ClosedLoop(concurrency=concurrency),
        max_duration_ns=int(seconds * 1e9),
        slice_ns=int(seconds * 1e8),
        pin_cpus=cpus,
    )
    result = engine.run(plan, [b"\0"])
    return result.ok / (result.elapsed_ns / 1e9)
