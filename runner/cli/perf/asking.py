"""What the server says of the model, before the scenario is settled; and whether its inputs fit, before the load."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from runner.cli.perf.model import KnownModel
from runner.errors import ServiceError, UsageError

if TYPE_CHECKING:
    from runner.scenario.loading import LoadedScenario
    from runner.scenario.schema import Workload
    from runner.services.base import ModelMetadata, Service

_OPTIONS = (
    (re.compile(r"^workload\.data: "), "--input-data: "),
    (re.compile(r"^workload\.shape\.(.+?): "), r"--shape: input \1: "),
    (re.compile(r"^workload\.input\.(.+?): "), r"--input-data: input \1: "),
)
"""Addresses of a scenario, and the options that stand for them."""


def ask_server(loaded: LoadedScenario) -> KnownModel:
    """The model as the server describes it.

    Raises:
        ServiceError: nothing answers, it has no such model or version, or it will not let us in.
    """
    model = loaded.scenario.workload.model
    with _connected(loaded) as service:
        metadata = service.metadata(model)
        return KnownModel.of(metadata, tuple(service.metadata(each) for each in metadata.composing_models))


def check_credentials(loaded: LoadedScenario) -> None:
    """Read certificates and keys: what is wrong with them is no fault of the server.

    Raises:
        UsageError: a file holds something else, or a certificate and a key do not belong together.
    """
    from runner.services.tls import load_tls

    settings = loaded.scenario.workload.tls
    if settings is None:
        return
    try:
        load_tls(settings).context()
    except ServiceError as error:
        raise UsageError(error.message, hint=error.hint) from error


def check_inputs(loaded: LoadedScenario) -> None:
    """Make every request once and drop it: data that do not fit the model would fail each level with the same words.

    Raises:
        UsageError: a file, a step of it or a shape does not fit; says which, what was expected and what was got.
    """
    from runner.load.inputs import fed_together
    from runner.load.mix import workload_payloads
    from runner.load.payloads import StreamEncoder

    workload = loaded.scenario.workload
    with _connected(loaded) as service:
        model = service.metadata(workload.model)
        try:
            fed = fed_together(workload, model)
            _refuse_gaps(workload, model, fed)
            workload_payloads(StreamEncoder(service) if workload.streaming else service, model, workload, {}, fed)
        except ServiceError as error:
            raise UsageError(_by_option(error.message), hint=error.hint) from error


def _refuse_gaps(workload: Workload, model: ModelMetadata, given: Collection[str]) -> None:
    """Who gives data gives them for every input; the rest would be made up, which nobody asked for."""
    from runner.load.inputs import data_paths

    missing = [tensor.name for tensor in model.inputs if not tensor.optional and tensor.name not in given]
    if given and missing:
        raise UsageError(
            f"--input-data: {', '.join(data_paths(workload.data))}: missing {', '.join(missing)}",
            hint=f"expected values of {', '.join(tensor.name for tensor in model.inputs)}",
        )


@contextmanager
def _connected(loaded: LoadedScenario) -> Iterator[Service]:
    from runner.runtimes.remote.reaching import check_names, endpoint_of
    from runner.scenario.schema import RemoteLaunch
    from runner.services import connect

    launch = loaded.launch
    assert isinstance(launch, RemoteLaunch)
    check_names(launch)
    with closing(connect(endpoint_of(launch), loaded.scenario.workload)) as service:
        yield service


def _by_option(message: str) -> str:
    for address, option in _OPTIONS:
        message = address.sub(option, message)
    return message
