"""The native engine behind the `Engine` protocol."""

from __future__ import annotations

from collections.abc import Sequence

from runner import _engine
from runner.errors import LoadError
from runner.load.engine import Adjust, Extra, LoadResult, OnSlices, Slice, checked_concurrency
from runner.load.history import History
from runner.load.plan import LoadPlan
from runner.load.record_file import RecordFile
from runner.results.histogram import Histogram

_NO_CONNECTION = "check that the service runs, that the endpoint is its port for this protocol, and workload.tls"


def engine_version() -> str:
    """Version of the native library."""
    return str(_engine.__version__)


class NativeEngine:
    """Sends a real load from native threads; see `docs/engine.md`."""

    def run(self, plan: LoadPlan, payloads: Sequence[bytes], on_slices: OnSlices | None = None) -> LoadResult:
        """Run until the plan ends or `on_slices` returns True; `Adjust` from it changes the concurrency.

        Raises `LoadError` for a plan that the engine refuses and when no connection can be made at the beginning; what
        happens later is counted, not raised. An exception of `on_slices` stops the load and comes back as itself.
        """
        with RecordFile(plan.records) as records:
            return self._run(plan, payloads, on_slices, records)

    def _run(
        self, plan: LoadPlan, payloads: Sequence[bytes], on_slices: OnSlices | None, records: RecordFile
    ) -> LoadResult:
        unseen = _Unseen()

        def on_tick(tick: _engine.Tick) -> bool | int | None:
            records.write(slice_.records for slice_ in tick.slices)
            if on_slices is None:
                unseen.add(tick.slices)
                return None
            answer = on_slices([_decode(slice_) for slice_ in tick.slices])
            return checked_concurrency(plan, answer) if isinstance(answer, Adjust) else answer

        try:
            expected = _engine.PayloadPool(plan.validate.expected) if plan.validate else None
            result = _engine.run(plan.to_json(), _engine.PayloadPool(payloads), on_tick, expected)
        except _engine.PlanError as error:
            raise LoadError(f"the load plan is not valid: {error}") from error
        except _engine.ConnectError as error:
            raise LoadError(str(error), hint=_NO_CONNECTION) from error
        except _engine.EngineError as error:
            raise LoadError(str(error)) from error
        records.write(slice_.records for slice_ in result.slices)
        unseen.add(result.slices)
        return _result(result, unseen.slices())


class _Unseen:
    """Slices that nobody watches, in bounded memory; decoded many at a time, which disturbs the load least."""

    _MOST_RAW = 32

    def __init__(self) -> None:
        self._history = History()
        self._raw: list[_engine.Slice] = []

    def add(self, fresh: Sequence[_engine.Slice]) -> None:
        self._raw.extend(fresh)
        if len(self._raw) >= self._MOST_RAW:
            self.slices()

    def slices(self) -> Sequence[Slice]:
        """All so far."""
        self._history.extend(_decode(slice_) for slice_ in self._raw)
        self._raw.clear()
        return self._history.slices


def _decode(native: _engine.Slice) -> Slice:
    latency_pairs, service_pairs = native.latency, native.service
    latency = Histogram.from_pairs(latency_pairs)
    # In a closed loop they are nearly always the same, and a long run keeps thousands of slices.
    service = latency if service_pairs == latency_pairs else Histogram.from_pairs(service_pairs)
    return Slice(
        start_ns=native.start_ns,
        end_ns=native.end_ns,
        sent=native.sent,
        ok=native.ok,
        failed=native.failed,
        dropped=native.dropped,
        in_flight=native.in_flight,
        in_flight_ns=native.in_flight_ns,
        latency_sum_ns=native.latency_sum_ns,
        latency_max_ns=native.latency_max_ns,
        bytes_sent=native.bytes_sent,
        bytes_received=native.bytes_received,
        cpu_ns=native.cpu_ns,
        stall_max_ns=native.stall_max_ns,
        latency=latency,
        service=service,
        send_lag=Histogram.from_pairs(native.send_lag),
        items=native.items,
        extra=_decode_extra(native),
    )


def _decode_extra(native: _engine.Slice) -> Extra:
    histograms = {name: Histogram.from_pairs(pairs) for name, pairs in native.extra_histograms.items()}
    return Extra(**native.extra_counts, histograms=histograms)


def _result(native: _engine.LoadResult, slices: Sequence[Slice]) -> LoadResult:
    return LoadResult(
        started_unix_ns=native.started_unix_ns,
        elapsed_ns=native.elapsed_ns,
        stopped_ns=native.stopped_ns,
        slices=tuple(slices),
        sent=native.sent,
        ok=native.ok,
        failed=native.failed,
        dropped=native.dropped,
        unfinished=native.unfinished,
        examples=native.examples,
        reconnects=native.reconnects,
        workers=native.workers,
    )
