"""The runtime of `launch: {kind: remote}`: connects to a server that runs, and leaves it as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from runner.errors import ServiceError
from runner.results.facts import hashed
from runner.runtimes.base import Finding, RunningServer, ServerSpec
from runner.runtimes.interrupts import terminations_as_exit
from runner.runtimes.remote.ledger import ChangeLedger, Changes
from runner.runtimes.remote.models import LoadedModels
from runner.runtimes.remote.reaching import answering, check_names, endpoint_of, findings
from runner.runtimes.remote.server import RemoteServer
from runner.runtimes.remote.traces import ModelTraces
from runner.runtimes.state import state_folder
from runner.scenario.schema import RemoteLaunch
from runner.services.control import Control, control_of

_PROBE_TIMEOUT_S = 2.0
_UNLOAD_TIMEOUT_S = 60.0

Say = Callable[[str], None]


class RemoteRuntime:
    """A `Runtime` that starts nothing; `say` hears what is done to the server, which is nothing by default."""

    def __init__(
        self,
        launch: RemoteLaunch,
        say: Say = lambda message: None,
        *,
        identify: bool = False,
        state: Path | None = None,
    ) -> None:
        self._launch, self._say = launch, say
        self._hide: Callable[[str], str] = str if identify else hashed
        self._state = state or state_folder("remote")

    def preflight(self) -> Sequence[Finding]:
        """Look whether anything listens."""
        return tuple(findings(self._launch))

    @contextmanager
    def start(self, spec: ServerSpec) -> Iterator[RunningServer]:
        """Wait for the server and the canary; what was loaded for that is unloaded on leaving, whatever happens."""
        launch = spec.launch if isinstance(spec.launch, RemoteLaunch) else self._launch
        endpoint, ledger = endpoint_of(launch), ChangeLedger(self._state, launch.address)
        with terminations_as_exit(), ExitStack() as stack:
            say = stack.enter_context(_logged(spec.log, self._say))
            check_names(launch)
            probe = stack.enter_context(closing(control_of(endpoint, timeout_s=_PROBE_TIMEOUT_S)))
            identity = answering(probe, launch.address, spec.ready_timeout_s, spec.listens_within_s, say)
            control = stack.enter_context(closing(control_of(endpoint, timeout_s=spec.ready_timeout_s)))
            changes = launch.model_control == "allowed" or spec.trace is not None
            if changes:
                stack.enter_context(ledger.held())
            if changes or not ledger.in_use():
                restore(control, ledger, say)
            models = None
            if launch.model_control == "allowed":
                models = stack.enter_context(_loaded(LoadedModels(control, ledger, say, spec.ready_timeout_s), spec))
            server = RemoteServer(launch.address, endpoint, spec, probe, identity, models, self._hide)
            server.wait_ready()
            traces = ModelTraces(control, ledger, say)
            if changes:
                # Of models that were not loaded until now.
                traces.restore()
            if spec.trace is not None:
                server.written_to = stack.enter_context(traces.held(spec.canary, spec.trace))
            yield server

    def sweep(self) -> Sequence[str]:
        """Undo what runs that died changed on this server."""
        ledger = ChangeLedger(self._state, self._launch.address)
        if ledger.read() == Changes() or ledger.in_use():
            return ()
        with closing(control_of(endpoint_of(self._launch), timeout_s=_UNLOAD_TIMEOUT_S)) as control, ledger.held():
            return restore(control, ledger, lambda message: None)


def restore(control: Control, ledger: ChangeLedger, say: Say) -> tuple[str, ...]:
    """Undo what the ledger holds; names it."""
    left = ledger.read()
    traced = ModelTraces(control, ledger, say).restore()
    LoadedModels(control, ledger, say, _UNLOAD_TIMEOUT_S, list(left.models), left.unfinished).unload()
    models = tuple(f"model {model}" for model in (*left.models, left.unfinished) if model)
    settings = tuple(f"trace settings of {model}" for model in traced)
    return tuple(f"{what} on {ledger.address}" for what in (*settings, *models))


@contextmanager
def _loaded(models: LoadedModels, spec: ServerSpec) -> Iterator[LoadedModels]:
    """Load what the workload needs; on leaving nothing of it is left."""
    try:
        models.load(spec.models)
        yield models
    except BaseException:
        # What went wrong before matters more; the ledger keeps what could not be undone.
        with suppress(ServiceError):
            models.unload()
        raise
    models.unload()


@contextmanager
def _logged(path: Path, say: Say) -> Iterator[Say]:
    """Whoever listens, and a file in the place of the server's log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:

        def tell(message: str) -> None:
            file.write(f"{message}\n")
            file.flush()
            say(message)

        file.write("This server was not started here: its log is where it runs. What was done to it:\n")
        file.flush()
        yield tell
