"""slices/<case>-r<repeat>.hlog: everything that a trial's numbers were made from, so that they can be made again.

It is an HdrHistogram log with one interval per slice, which any HdrHistogram tool reads, merges and re-windows; counts
and sums stand in comment lines before the intervals of their slice, what else the checks looked at in the first one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

from runner.load.engine import Extra, Slice
from runner.measure.judge import Evidence, judge, state_of
from runner.measure.series import Series, Window
from runner.measure.settings import MeasureSettings
from runner.measure.summary import Findings, encoded_histograms, summarise
from runner.measure.tally import tally
from runner.results.capacity import Probe
from runner.results.codec import CodecError, decode
from runner.results.files import make_folder, write_atomic
from runner.results.histogram import Histogram
from runner.results.hlog import hlog_head, interval_line, read_intervals
from runner.results.records import Trial

FORMAT = 1
_FROM_TRIAL = ("findings", "counts", "server")
"""Parts of the evidence that are made again, or stand in the trial."""
_HISTOGRAMS = ("latency", "service", "send_lag")


@dataclass(frozen=True, kw_only=True)
class Raw:
    """The closed slices of a trial, the window in them, and the evidence that is neither there nor in the trial."""

    slices: tuple[Slice, ...]
    window: Window
    workers: int
    slots: int | None
    """Requests kept in flight; None in an open loop."""
    floor_ns: int | None = None
    """End of the shortest warm-up, where MSER-5 might have cut more."""
    stop_reason: str
    evidence: Mapping[str, Any]
    """Fields of `Evidence`."""

    @classmethod
    def of(cls, slices: Sequence[Slice], window: Window, evidence: Evidence, **loaded: Any) -> Raw:
        """What has to be kept of a trial that was just judged."""
        kept = {f.name: getattr(evidence, f.name) for f in fields(Evidence) if f.name not in _FROM_TRIAL}
        return cls(slices=tuple(slices), window=window, evidence=kept, **loaded)


def judged_again(trial: Trial, raw: Raw) -> Trial:
    """The trial as its raw record, its counts and the server's counters say; `ValueError` if nothing completed."""
    evidence = raw.evidence
    findings = summarise(
        raw.slices,
        raw.window,
        batch=evidence["batch"],
        workers=raw.workers,
        settings=evidence["settings"],
        steady=evidence["steady"],
        stop_reason=raw.stop_reason,
        is_open=evidence["is_open"],
        floor_ns=raw.floor_ns,
        slots=raw.slots,
    )
    return _with(trial, findings, raw)


def _with(trial: Trial, findings: Findings, raw: Raw) -> Trial:
    assert trial.counts is not None
    flags = judge(Evidence(findings=findings, counts=trial.counts, server=trial.server, **raw.evidence))
    histograms, probe = encoded_histograms(findings), _counted_again(trial, raw)
    return replace(
        trial, state=state_of(flags), summary=findings.summary, flags=flags, histograms=histograms, probe=probe
    )


def _counted_again(trial: Trial, raw: Raw) -> Probe | None:
    """What a probe of a search counted; the verdict on it is not this room's."""
    limit, evidence = raw.evidence["settings"].limit, raw.evidence
    if trial.probe is None or limit is None:
        return trial.probe
    series = Series.of(raw.slices).within(raw.window)
    return replace(trial.probe, tally=tally(series, limit, evidence["asked_per_s"], evidence["steady"]))


# --- the file -----------------------------------------------------------------------------------------------------


def write_raw(path: Path, trial: Trial, raw: Raw) -> str:
    """Keep the raw record; returns its path as the trial names it."""
    make_folder(path.parent)
    write_atomic(path, "\n".join([*_lines(trial, raw), ""]).encode("utf-8", "backslashreplace"))
    return f"{path.parent.name}/{path.name}"


def _lines(trial: Trial, raw: Raw) -> Iterator[str]:
    yield from hlog_head(trial.case_id, trial.started_utc)
    yield _comment(
        {
            "format": FORMAT,
            "case_id": trial.case_id,
            "window_ns": [raw.window.start_ns, raw.window.end_ns],
            "workers": raw.workers,
            "slots": raw.slots,
            "floor_ns": raw.floor_ns,
            "stop_reason": raw.stop_reason,
            "evidence": _plain(raw.evidence),
        }
    )
    for slice_ in raw.slices:
        yield _comment(_numbers(slice_))
        start_s, length_s = slice_.start_ns / 1e9, (slice_.end_ns - slice_.start_ns) / 1e9
        for name, histogram in _histograms(slice_):
            yield interval_line(name, histogram, start_s, length_s)


def _comment(value: Any) -> str:
    # Not strict JSON: a ratio to nothing is infinite, and has to read back as that.
    return "#" + json.dumps(value, separators=(",", ":"))


def _plain(value: Any) -> Any:
    """As `codec.encode`, with keys of any kind and infinite numbers."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _numbers(slice_: Slice) -> dict[str, Any]:
    """Every count and sum of a slice; those of `Extra` only where there are some."""
    numbers = {f.name: getattr(slice_, f.name) for f in fields(Slice) if f.name not in (*_HISTOGRAMS, "extra")}
    extra = {f.name: getattr(slice_.extra, f.name) for f in fields(Extra) if f.name != "histograms"}
    if any(extra.values()):
        numbers["extra"] = {name: number for name, number in extra.items() if number}
    return numbers


def _histograms(slice_: Slice) -> Iterator[tuple[str, Histogram]]:
    """Those that hold something; service only where it is not the latency, as in a closed loop."""
    found = {"latency": slice_.latency, "service": slice_.service, "send_lag": slice_.send_lag}
    if slice_.service == slice_.latency:
        del found["service"]
    for name, histogram in (found | dict(slice_.extra.histograms)).items():
        if histogram.count:
            yield name, histogram


def read_raw(path: Path) -> Raw:
    """Read what `write_raw` wrote.

    Raises:
        OSError: there is no such file.
        ValueError: it is damaged, or of another version.
    """
    head: dict[str, Any] | None = None
    slices: list[tuple[dict[str, Any], dict[str, Histogram]]] = []
    for kind, value in read_intervals(path):
        if kind == "comment" and head is None:
            head = value
        elif kind == "comment":
            slices.append((value, {}))
        elif slices:
            slices[-1][1][kind] = value
    if head is None or head.get("format") != FORMAT:
        raise ValueError(f"expected a raw record of format {FORMAT}, got {head and head.get('format')}")
    try:
        return _raw(head, [_slice(numbers, histograms) for numbers, histograms in slices])
    except (KeyError, TypeError, CodecError) as error:
        raise ValueError(f"damaged raw record: {error}") from error


def _raw(head: dict[str, Any], slices: Sequence[Slice]) -> Raw:
    evidence = {name: _restored(name, value) for name, value in head["evidence"].items()}
    return Raw(
        slices=tuple(slices),
        window=Window(*head["window_ns"]),
        workers=head["workers"],
        slots=head["slots"],
        floor_ns=head.get("floor_ns"),
        stop_reason=head["stop_reason"],
        evidence=evidence,
    )


def _restored(name: str, value: Any) -> Any:
    if name == "settings":
        widths = {float(q): width for q, width in value.pop("percentile_precision").items()}
        return replace(decode(MeasureSettings, value, name), percentile_precision=widths)
    record = _records_of(Evidence)[name]
    if isinstance(value, list):
        return tuple(item if record is None else decode(record, item, name) for item in value)
    return value if record is None or value is None else decode(record, value, name)


@cache
def _records_of(cls: type) -> dict[str, type | None]:
    """Field -> the record that it holds, alone or several of; None where it holds plain values."""
    hints = get_type_hints(cls)
    parts = {name: (hint, *get_args(hint)) for name, hint in hints.items()}
    return {
        name: next((part for part in found if isinstance(part, type) and is_dataclass(part)), None)
        for name, found in parts.items()
    }


def _slice(numbers: dict[str, Any], histograms: dict[str, Histogram]) -> Slice:
    latency = histograms.pop("latency", Histogram.empty())
    service = histograms.pop("service", latency)
    send_lag = histograms.pop("send_lag", Histogram.empty())
    extra = Extra(**numbers.pop("extra", {}), histograms=histograms)
    return Slice(**numbers, latency=latency, service=service, send_lag=send_lag, extra=extra)
