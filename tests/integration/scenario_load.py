"""A scenario's load on a server that runs already: its payloads, its references, its plan, the native engine."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from runner.load.engine import LoadResult
from runner.load.native import NativeEngine
from runner.measure.extras import plan_extras
from runner.measure.orders import Target
from runner.measure.settings import resolve
from runner.measure.trial import load_plan
from runner.runtimes.base import RunningServer
from runner.scenario.schema import Scenario
from runner.services import connect
from runner.services.pipeline import Pipeline
from runner.workflow.serving import Serving


def scenario_load(
    server: RunningServer, workload: dict[str, Any], requests: int = 60, load: dict[str, Any] | None = None, **plan: Any
) -> LoadResult:
    """Send so many requests as the scenario says."""
    scenario = Scenario.model_validate(
        {"scenario": 1, "name": "x", "workload": workload, "load": load or {"concurrency": 4}}
    )
    case: Any = SimpleNamespace(scenario=scenario, parameters={}, id="x")
    prepared: Any = SimpleNamespace(artifacts=dict[str, Path]())
    with closing(connect(server.endpoint, scenario.workload)) as service:
        metadata = service.metadata(scenario.workload.model)
        pipeline = Pipeline((metadata.name,))
        serving = Serving(server, prepared, metadata, pipeline, connect)
        target = Target(
            engine=NativeEngine(),
            endpoint=server.endpoint,
            service=service,
            pipeline=pipeline,
            server_check=server.check,
        )
        with serving.payloads(case, "x") as payloads:
            extras = plan_extras(
                scenario.workload,
                scenario.load,
                service,
                payloads.messages,
                None,
                payloads.references,
                streams=payloads.drawing.data_streams,
            )
            base = payloads.drawing.applied(load_plan(case, target, resolve(scenario.measure)))
            orders = dataclasses.replace(base, **{"max_requests": requests, **extras, **plan})
            return NativeEngine().run(orders, payloads.messages)
