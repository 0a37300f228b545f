"""How to talk to an inference service; each protocol is a module that is imported only when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.scenario.schema import Workload
    from runner.services.base import Endpoint, Service


def connect(endpoint: Endpoint, workload: Workload) -> Service:
    """The client that the workload asks for, connected to the endpoint."""
    match workload.service:
        case "kserve" if workload.protocol == "http":
            from runner.services import kserve_http

            return kserve_http.connect(endpoint, workload)
        case "kserve":
            from runner.services import kserve

            return kserve.connect(endpoint, workload)
