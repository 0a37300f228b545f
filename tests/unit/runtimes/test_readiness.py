"""Waiting for a model."""

from __future__ import annotations

import pytest

from runner.errors import ServiceError
from runner.runtimes.readiness import wait_ready
from runner.services.fake import FakeService


class _Answers(FakeService):
    """Answers its readiness probes one after the other; the last one for ever."""

    def __init__(self, *answers: bool | ServiceError) -> None:
        super().__init__()
        self.answers = list(answers)

    def ready(self, model: str) -> bool:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, ServiceError):
            raise answer
        return answer


def test_it_waits_through_refusals_and_timeouts() -> None:
    checks: list[None] = []
    wait_ready(_Answers(False, ServiceError("no answer within 2 s"), True), "m", 30, lambda: checks.append(None))
    assert len(checks) == 3


def test_the_deadline_repeats_what_was_seen_last() -> None:
    with pytest.raises(ServiceError, match=r"'m' was not ready 0\.1 s .*: the server is up, but") as caught:
        wait_ready(_Answers(False), "m", 0.1, lambda: None)
    assert "server.ready.timeout" in (caught.value.hint or "")
    with pytest.raises(ServiceError, match="no answer within 2 s"):
        wait_ready(_Answers(ServiceError("no answer within 2 s")), "m", 0.1, lambda: None)


def test_a_check_that_sees_no_hope_ends_the_wait() -> None:
    def check() -> None:
        raise ServiceError("the server ended")

    with pytest.raises(ServiceError, match="the server ended"):
        wait_ready(_Answers(True), "m", 30, check)
