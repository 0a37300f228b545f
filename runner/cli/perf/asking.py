"""What the server says of the model, before the scenario is settled."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from runner.cli.perf.model import KnownModel

if TYPE_CHECKING:
    from runner.scenario.loading import LoadedScenario


def ask_server(loaded: LoadedScenario) -> KnownModel:
    """The model as the server describes it.

    Raises:
        ServiceError: nothing answers, it has no such model or version, or it will not let us in.
    """
    from runner.runtimes.remote.reaching import endpoint_of
    from runner.scenario.schema import RemoteLaunch
    from runner.services import connect

    workload, launch = loaded.scenario.workload, loaded.launch
    assert isinstance(launch, RemoteLaunch)
    with closing(connect(endpoint_of(launch), workload)) as service:
        metadata = service.metadata(workload.model)
        return KnownModel.of(metadata, tuple(service.metadata(model) for model in metadata.composing_models))
