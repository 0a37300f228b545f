"""The scripted server's queue in virtual time: what it promises is what the self-test expects of the engine."""

from __future__ import annotations

import numpy as np
import pytest

from runner.measure.selftest.script import Queue, Script


def play(script: Script, arrivals_s: list[float]) -> list[tuple[float, object, str]]:
    """Every answer, with the clock going from event to event."""
    queue, answers, coming = Queue(script), [], list(enumerate(arrivals_s, 1))
    while True:
        due = queue.next_s()
        if coming and (due is None or coming[0][1] <= due):
            number, now = coming.pop(0)
            queue.arrive(now, number)
        elif due is None:
            return answers
        else:
            answers.extend(queue.take(due))


def times(script: Script, arrivals_s: list[float]) -> list[float]:
    return [round(at - arrivals_s[0], 9) for at, _, _ in play(script, arrivals_s)]


def test_one_server_takes_one_at_a_time_and_several_take_several() -> None:
    assert times(Script(mean_s=0.1), [5, 5, 5.05, 6]) == [0.1, 0.2, 0.3, 1.1]
    assert times(Script(mean_s=0.1, servers=2), [5, 5, 5.05]) == [0.1, 0.1, 0.2]
    assert times(Script(mean_s=0.1, servers=0), [5, 5, 5.05]) == [0.1, 0.1, 0.15]


def test_deadlines_are_absolute_so_that_lateness_never_adds_up() -> None:
    queue = Queue(Script(mean_s=0.1))
    queue.arrive(1.0, "a")
    queue.arrive(1.0, "b")
    assert [(round(at, 6), token) for at, token, _ in queue.take(1.5)] == [(1.1, "a"), (1.2, "b")]


def test_what_waits_is_taken_together_up_to_the_batch() -> None:
    script = Script(mean_s=0.1, item_s=0.01, batch=2)
    assert times(script, [0, 0.05, 0.06, 0.07]) == [0.11, 0.23, 0.23, 0.34]


def test_a_frozen_server_answers_when_it_thaws() -> None:
    script = Script(mean_s=0.01, servers=0, stall_every_s=1.0, stall_s=0.2)
    assert times(script, [3.0, 3.5, 3.85, 4.5, 4.99]) == [0.01, 0.51, 1.0, 1.51, 2.0]


def test_slow_starts_drifts_and_steps_change_the_service() -> None:
    assert times(Script(mean_s=0.1, slow_until_s=1, slow_factor=3), [2.0, 3.5]) == [0.3, 1.6]
    assert times(Script(mean_s=0.1, drift_per_s=0.1), [2.0, 4.0]) == [0.1, 2.12]
    assert times(Script(mean_s=0.1, step_at_s=1, step_factor=2), [2.0, 3.5]) == [0.1, 1.7]


def test_exponential_service_depends_on_the_seed_alone() -> None:
    def drawn(seed: int) -> list[float]:
        return times(Script(service="exponential", mean_s=0.1, servers=0, seed=seed), [float(n) for n in range(2000)])

    assert drawn(1) == drawn(1) != drawn(2)
    assert np.mean([at - round(at - at % 1) for at in drawn(1)]) == pytest.approx(0.1, rel=0.1)


def test_outcomes_are_planned_by_number_and_counted() -> None:
    script = Script(mean_s=0.01, servers=0, error_every=3, lost_every=4, wrong_every=5)
    assert [outcome for _, _, outcome in play(script, [float(n) for n in range(12)])] == [
        *("ok", "ok", "error", "lost", "wrong", "error", "ok", "lost", "error", "wrong", "ok", "lost")
    ]
    queue = Queue(script)
    for n in range(12):
        queue.arrive(float(n), n)
    queue.take(100.0)
    assert queue.counts == {"ok": 4, "wrong": 2, "error": 3, "lost": 3}
