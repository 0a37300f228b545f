"""What our checks say of a level: further lines that scripts made for perf_analyzer's output must not take for its."""

from __future__ import annotations

from collections.abc import Iterator

from runner.report.perf.levels import Level


def remarks(level: Level) -> Iterator[str]:
    """One line for each; a level over the limit, an unstable one and a failed one are told apart by their code."""
    trial = level.trial
    if trial is None or trial.summary is None:
        yield _line("no result", level.reason or (trial.state if trial else "not measured"))
        return
    if trial.probe is not None and trial.probe.verdict != "pass":
        code = {"fail": "over limit"}.get(trial.probe.verdict, trial.probe.verdict)
        yield _line(code, trial.probe.reason)
    for flag in trial.flags:
        yield _line(flag.code, flag.message)


def _line(code: str, message: str) -> str:
    """`[FLAG] code – message`, without a colon after a word: `grep "latency:"` finds perf_analyzer's lines only."""
    return f"[FLAG] {code} – {' '.join(message.split()).replace(': ', ' – ')}"
