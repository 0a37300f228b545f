"""Answers of the file's own configuration, against which those of every point are compared.

`workload.validate` with recorded answers asks each server what is right before it is loaded, which finds answers that
change under load. In a study that is not enough: a point that is wrong from the start would agree with itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from runner.workflow.serving import Serving

if TYPE_CHECKING:
    from runner.load.payloads import Payloads
    from runner.scenario.case import Case
    from runner.services.base import Service


@dataclass
class Golden:
    """What the file's own configuration answers, by the requests that it was asked."""

    own: str
    """Server key of the file's own point."""
    _answers: dict[str, tuple[bytes, ...]] = field(default_factory=dict)

    def expected(self, case: Case, payloads: Payloads, service: Service) -> Payloads:
        """The same requests with the answers of the file's own configuration, as far as it was asked them.

        Other batches are other requests: those are compared with what their own server answers, as in any run.
        """
        workload = case.scenario.workload
        asked = workload.validate_
        is_plain = not workload.streaming and workload.shared_memory == "none"
        if asked is None or asked.expect != "recorded" or not is_plain:
            return payloads
        key = _key(payloads.messages)
        if key not in self._answers and case.server_key == self.own:
            replies = (service.replies(workload.model, m, timeout_s=workload.timeout) for m in payloads.messages)
            self._answers[key] = tuple(each[0] for each in replies)
        if key not in self._answers:
            return payloads
        return replace(payloads, references=replace(payloads.references, answers=self._answers[key]))


def _key(messages: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for message in messages:
        digest.update(len(message).to_bytes(8, "little"))
        digest.update(message)
    return digest.hexdigest()


@dataclass
class CheckedServing(Serving):
    """A server whose answers are compared with those of the file's own configuration."""

    golden: Golden = field(kw_only=True)

    @classmethod
    def of(cls, serving: Serving, golden: Golden) -> CheckedServing:
        """The same server, checked."""
        return cls(**vars(serving), golden=golden)

    @contextmanager
    def payloads(self, case: Case, run_id: str) -> Iterator[Payloads]:
        """As of any server, with the expected answers."""
        with super().payloads(case, run_id) as pool:
            yield self.golden.expected(case, pool, self.service_for(case.scenario.workload))
