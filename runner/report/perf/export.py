"""`--profile-export-file`: the times of every request in perf_analyzer's JSON, written while the records are read.

Memory does not grow with the number of requests. Payloads are in no record, so `request_inputs` and `response_outputs`
are empty; a failed request has no response, so it stands in a list of its own, which perf_analyzer does not have.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from runner.report.perf.levels import Level, levels
from runner.results.perf_wishes import PerfWishes
from runner.results.records import Trial
from runner.results.request_records import UNKNOWN_NS, read_records, status_name
from runner.results.run import Run

CHUNK = 1024
"""Requests that are turned into text at a time."""

Records = npt.NDArray[Any]


@dataclass(frozen=True)
class Experiment:
    """One measurement of a level."""

    level: Level
    trial: Trial
    path: Path
    """Its request records."""


def experiments(run: Run) -> Iterator[Experiment]:
    """Every measurement that left records; of a repeated level each repeat."""
    for level in levels(run):
        for trial in _trials(run, level):
            path = run.path / "records" / f"{_name(run, trial)}.bin"
            if path.is_file():
                yield Experiment(level, trial, path)


def write_export(run: Run, wishes: PerfWishes, file: BinaryIO) -> None:
    """Write the document.

    Raises:
        RunnerError: a file of records is none.
    """
    mode = "request_rate" if wishes.levels == "request_rate" else "concurrency"
    file.write(b'{"experiments":[')
    for number, experiment in enumerate(experiments(run)):
        file.write(b"," if number else b"")
        _write_experiment(experiment, mode, file)
    rest = {"version": run.manifest.tool_version, "service_kind": "triton", "endpoint": ""}
    file.write(f"],{json.dumps(rest)[1:]}\n".encode())


def _write_experiment(experiment: Experiment, mode: str, file: BinaryIO) -> None:
    value = experiment.level.value
    head = {"mode": mode, "value": int(value) if mode == "concurrency" else value}
    file.write(f'{{"experiment":{json.dumps(head)},"requests":['.encode())
    records, start_ns = read_records(experiment.path), started_ns(experiment.trial)
    _write_list(_answered(records, start_ns, experiment.trial), file)
    file.write(b'],"failed_requests":[')
    _write_list(_failed(records, start_ns), file)
    file.write(f'],"window_boundaries":{json.dumps(_window(experiment.trial, start_ns))}}}'.encode())


def _write_list(entries: Iterable[str], file: BinaryIO) -> None:
    separator = ""
    for entry in entries:
        file.write(f"{separator}{entry}".encode())
        separator = ","


def _answered(records: Records, start_ns: int, trial: Trial) -> Iterator[str]:
    """Requests with their first and last response; `intended_timestamp` where it is not that of the send."""
    summary = trial.summary
    streamed, is_open = (summary.stream, summary.offered_per_s) if summary else (None, None)
    for rows in _chunks(records):
        ok = rows[rows["status"] == 0]
        columns = (_epoch(ok[name], start_ns) for name in ("intended_ns", "sent_ns", "first_ns", "done_ns"))
        for intended, sent, first, done in zip(*columns, strict=True):
            responses = f"{first},{done}" if streamed is not None and first < done else f"{done}"
            due = "" if is_open is None else f'"intended_timestamp":{intended},'
            yield (
                f'{{"timestamp":{sent},{due}"request_inputs":{{}},'
                f'"response_timestamps":[{responses}],"response_outputs":[]}}'
            )


def _failed(records: Records, start_ns: int) -> Iterator[str]:
    """Requests with the code of their failure; `end` is null without an outcome."""
    for rows in _chunks(records):
        bad = rows[rows["status"] != 0]
        sent, codes, unknown = _epoch(bad["sent_ns"], start_ns), bad["status"].tolist(), bad["done_ns"] == UNKNOWN_NS
        ends = [None if lost else end for end, lost in zip(_epoch(bad["done_ns"], start_ns), unknown, strict=True)]
        for timestamp, end, code in zip(sent, ends, codes, strict=True):
            yield json.dumps({"timestamp": timestamp, "end": end, "error": status_name(code)})


def _chunks(records: Records) -> Iterator[Records]:
    return (records[at : at + CHUNK] for at in range(0, len(records), CHUNK))


def _epoch(times_ns: Records, start_ns: int) -> list[int]:
    """Nanoseconds since 1970; what is unknown wraps around and is not to be used."""
    epoch: list[int] = (times_ns + np.uint64(start_ns)).tolist()
    return epoch


def started_ns(trial: Trial) -> int:
    """Wall clock of the first send; where the engine did not say, the start of the trial to the millisecond."""
    if trial.whole is not None and trial.whole.started_unix_ns is not None:
        return trial.whole.started_unix_ns
    return round(datetime.fromisoformat(trial.started_utc).timestamp() * 1e3) * 1_000_000


def _window(trial: Trial, start_ns: int) -> list[int]:
    """Both ends of the measured window; empty where nothing was measured."""
    if trial.summary is None:
        return []
    begin = start_ns + round(trial.summary.warmup_s * 1e9)
    return [begin, begin + round(trial.summary.window_s * 1e9)]


def _trials(run: Run, level: Level) -> tuple[Trial, ...]:
    if level.trial is None:
        return ()
    return (level.trial,) if level.trial.probe is not None else run.repeats.get(level.case_id, ())


def _name(run: Run, trial: Trial) -> str:
    """What the files of a measurement are called."""
    if trial.probe is not None:
        return f"{trial.case_id}-search{trial.probe.attempt}-{trial.probe.number}"
    repeated = any(case.case_id == trial.case_id and case.repeats > 1 for case in run.cases)
    return f"{trial.case_id}-repeat{trial.repeat}" if repeated else trial.case_id
