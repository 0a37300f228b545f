"""A server for a group of cases: started, asked what it serves, stopped whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import ServiceError

if TYPE_CHECKING:
    from runner.load.items import Items
    from runner.load.payloads import Payloads
    from runner.load.shared_memory import SharedPayloads
    from runner.measure.peers import Peer
    from runner.runtimes.base import RunningServer, ServerSpec
    from runner.runtimes.rig import Applied
    from runner.runtimes.rig.cpus import Placement
    from runner.scenario.case import Case
    from runner.scenario.schema import PeerEndpoint, Scenario, Workload
    from runner.services.base import Endpoint, ModelMetadata, Service
    from runner.services.pipeline import Pipeline
    from runner.services.tls import Tls
    from runner.setup.base import Prepared
    from runner.workflow.session import Session

MOST_PAYLOAD_BYTES = 256 << 20
"""Encoded requests of several points that are kept at a time."""
_CLIENT = {
    *("service", "protocol", "tensors", "output_tensors", "headers", "tls", "compression", "response_compression"),
    *("model", "version", "bls_versions", "parameters"),
}
"""Fields of the workload that a client of the service depends on."""
_REQUESTS = {
    *_CLIENT,
    "batch",
    "input",
    "data",
    "shape",
    "generate",
    "mix",
    "order",
    "streaming",
    "validate_",
    "sequences",
}
"""Fields that encoded requests depend on."""


@dataclass
class Serving:
    """A running server and what is known of the model behind it."""

    server: RunningServer
    prepared: Prepared
    metadata: ModelMetadata
    pipeline: Pipeline
    connect: Callable[[Endpoint, Workload], Service]
    _pools: dict[str, Payloads] = field(default_factory=dict)
    _services: dict[str, Service] = field(default_factory=dict)

    def service_for(self, workload: Workload) -> Service:
        """A client that talks as this workload does; an axis may change the protocol from point to point."""
        key = workload.model_dump_json(include=_CLIENT)
        if key not in self._services:
            self._services[key] = self.connect(self.server.endpoint, workload)
        return self._services[key]

    def peers_for(self, workload: Workload) -> tuple[Peer, ...]:
        """Clients of the further endpoints that share this workload's load."""
        return tuple(self._peer(workload, endpoint) for endpoint in workload.endpoints)

    def _peer(self, workload: Workload, peer: PeerEndpoint) -> Peer:
        from runner.measure.peers import Peer

        address = (peer.grpc if workload.protocol == "grpc" else peer.http) or ""
        key = f"{address} {workload.model_dump_json(include=_CLIENT)}"
        if key not in self._services:
            # One load has one set of headers and certificates, whichever server a request goes to.
            theirs = replace(self.server.endpoint, http=peer.http or "", grpc=peer.grpc or "", metrics=None)
            self._services[key] = self.connect(theirs, workload)
        return Peer(self._services[key], address, peer.weight)

    @contextmanager
    def payloads(self, case: Case, run_id: str) -> Iterator[Payloads]:
        """The encoded requests of a point; memory that they share with the server exists until the context ends."""
        workload = case.scenario.workload
        if workload.shared_memory == "none":
            yield self._encoded(workload)
            return
        from runner.load.inputs import workload_items
        from runner.load.shared_memory import shared_payloads
        from runner.measure.loads import most_in_flight

        items = workload_items(workload, self.metadata, self._artifacts())
        with shared_payloads(
            self.service_for(workload),
            self.metadata,
            items,
            workload.batch,
            kind=workload.shared_memory,
            slots=most_in_flight(case.scenario.load),
            run_id=run_id,
            device=workload.shared_memory_device,
            output_bytes=workload.output_bytes,
        ) as shared:
            yield self._with_expected_outputs(shared, workload, items)

    def _with_expected_outputs(self, shared: SharedPayloads, workload: Workload, items: Sequence[Items]) -> Payloads:
        from runner.load.expected import references_for

        pool, service = shared.payloads, self.service_for(workload)
        count = len(pool.messages) // max(len(shared.outputs), 1)
        answers = references_for(service, self.metadata, workload, self._artifacts(), items, count).answers
        return replace(pool, references=replace(pool.references, answers=answers))

    def _encoded(self, workload: Workload) -> Payloads:
        """Made once for all points that send the same."""
        from runner.load.mix import workload_payloads
        from runner.load.payloads import StreamEncoder

        key = workload.model_dump_json(include=_REQUESTS)
        if key not in self._pools:
            service = self.service_for(workload)
            encoder = StreamEncoder(service) if workload.streaming else service
            pool = workload_payloads(encoder, self.metadata, workload, self._artifacts())
            # Points come in random order, so a pool is needed again; but pools are large.
            kept = sum(each.nbytes for each in self._pools.values()) + pool.nbytes
            self._pools = {**(self._pools if kept <= MOST_PAYLOAD_BYTES else {}), key: pool}
        return self._pools[key]

    def _artifacts(self) -> dict[str, Path]:
        return {name: artifact.path for name, artifact in self.prepared.artifacts.items()}


@contextmanager
def served(scenario: Scenario, prepared: Prepared, session: Session) -> Iterator[Serving]:
    """A server with this configuration, up and asked for its metadata; stopped on leaving whatever happens."""
    from runner.scenario.schema import RemoteLaunch
    from runner.services.pipeline import read_pipeline

    session.servers_started += 1
    with ExitStack() as stack:
        rig = stack.enter_context(_rig(scenario, session))
        prepared = replace(prepared, labels={**prepared.labels, **rig.labels, **_trace_label(scenario)})
        spec = server_spec(scenario, prepared, session, rig.placement)
        verb = "connecting" if isinstance(spec.launch, RemoteLaunch) else "starting"
        session.observer.on_server(f"{verb}, log in {spec.log}")
        server = stack.enter_context(session.rooms.runtime.start(spec))
        workload, connect = scenario.workload, session.rooms.connect
        first = connect(server.endpoint, workload)
        services = {workload.model_dump_json(include=_CLIENT): first}
        try:
            facts = {**server.facts(), **rig.facts}
            session.writer.update(server=facts)
            session.observer.on_server(f"is up: {', '.join(f'{k} {v}' for k, v in facts.items())}")
            metadata = first.metadata(workload.model)
            pipeline = read_pipeline(first, metadata, workload.bls_models)
            yield Serving(server, prepared, metadata, pipeline, connect, _services=services)
        finally:
            for service in services.values():
                service.close()


def _rig(scenario: Scenario, session: Session) -> AbstractContextManager[Applied]:
    """The machine as the target asks for it, while the server lives."""
    from runner.runtimes.rig import rig_controls
    from runner.scenario.case import launch_of, rig_of
    from runner.workflow.groups import state_of

    ledger = state_of(session.loaded, session.options.home).ledger
    return rig_controls(rig_of(scenario), launch_of(scenario), ledger, session.observer.on_server)


def _trace_label(scenario: Scenario) -> dict[str, str]:
    """That a server traces belongs to every number of it."""
    trace = scenario.server.trace
    return {"trace": trace.summary} if trace and trace.levels else {}


def server_spec(scenario: Scenario, prepared: Prepared, session: Session, placement: Placement) -> ServerSpec:
    """What the runtime is asked to start, and where it runs."""
    from runner.runtimes.base import ServerSpec
    from runner.scenario.case import launch_of

    directory, trace, ready = session.writer.directory, scenario.server.trace, scenario.server.ready
    # Who writes how long to wait means it, also where nobody listens yet.
    listens_within_s = ready.timeout if "timeout" in ready.model_fields_set else ServerSpec.listens_within_s
    return ServerSpec(
        repository=prepared.repository,
        # What a model's code calls is no dependent of it that the server knows of.
        load=scenario.server.load or (*scenario.workload.bls_models, scenario.workload.model),
        canary=scenario.workload.model,
        run_id=directory.name,
        log=directory.logs / f"server-{session.servers_started}.log",
        flags=scenario.server.flags,
        ready_timeout_s=ready.timeout,
        listens_within_s=listens_within_s,
        tls=_probe_tls(scenario),
        launch=launch_of(scenario),
        reads=_artifacts_told_of(scenario, prepared),
        cpus=placement.cpus,
        memory_nodes=placement.nodes,
        trace=trace,
        traces=_fresh(directory.path / "traces", session.servers_started) if trace and trace.levels else None,
    )


def _fresh(folder: Path, number: int) -> Path:
    """A file for the traces of a server; a run that is resumed counts its servers anew, and keeps what is there."""
    names = (f"server-{number}{suffix}.json" for suffix in ("", *(f"-{again}" for again in range(2, 1000))))
    return next(folder / name for name in names if not list(folder.glob(f"{name}*")))


def _artifacts_told_of(scenario: Scenario, prepared: Prepared) -> tuple[Path, ...]:
    """Artifacts whose paths reach the models as arguments or configuration: a container has to see them, too."""
    from runner.setup.references import references

    told = [(model.config, model.args) for model in scenario.repository.models.values()]
    return tuple(prepared.artifacts[name].path for name in references(told) if name in prepared.artifacts)


def _probe_tls(scenario: Scenario) -> Tls | None:
    """How readiness is asked for: over gRPC, encrypted where the server is told to be."""
    from runner.scenario.case import launch_of
    from runner.scenario.schema import RemoteLaunch
    from runner.services.tls import load_tls

    if isinstance(launch_of(scenario), RemoteLaunch):
        # Its launch says how it is reached; flags would be those of a server that is started from here.
        return None
    settings, encrypted = scenario.workload.tls, scenario.server.flags.get("grpc-use-ssl")
    if str(encrypted).lower() in ("true", "1") or scenario.server.flags.get("grpc-use-ssl-mutual"):
        if settings is None:
            raise ServiceError(
                "server.flags.grpc-use-ssl is set, but workload.tls is not: nobody could talk to this server",
                hint="set workload.tls.ca to the certificate that signed the server's",
            )
        return load_tls(settings)
    return None
