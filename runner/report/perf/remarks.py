"""What our checks say of a level: codes among the results, which no script takes for one, sentences apart from them."""

from __future__ import annotations

from collections.abc import Iterator

from runner.report.perf.levels import Level


def remarks(level: Level) -> Iterator[tuple[str, str]]:
    """(code, sentence): a level over the limit, an unstable one and a failed one are told apart by their code."""
    trial = level.trial
    if trial is None or trial.summary is None:
        yield "no_result", level.reason or (trial.state if trial else "not measured")
        return
    if trial.probe is not None and trial.probe.verdict != "pass":
        code = {"fail": "over_limit"}.get(trial.probe.verdict, trial.probe.verdict)
        yield code, trial.probe.reason
    for flag in trial.flags:
        yield flag.code, flag.message


def remark_lines(level: Level) -> Iterator[str]:
    """At most one line, with codes only: their sentences speak of throughput and latency, as `grep` would find."""
    codes = [code for code, _ in remarks(level)]
    if codes:
        yield f"[FLAG] {', '.join(codes)}"
