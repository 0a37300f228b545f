"""A source with scripted values and faults, in whatever time the test keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from runner.measure.telemetry.base import Value

Script = Callable[[float], Mapping[str, Value]]


@dataclass
class FakeSource:
    """A `Source`: what `script` says at `now_s`, or nothing while `fault` gives a reason."""

    script: Script
    now_s: Callable[[], float]
    fault: Callable[[float], str | None] = lambda _now_s: None
    name: str = "fake"
    closed: bool = False
    _absent: dict[str, str] = field(default_factory=dict)

    def read(self) -> Mapping[str, Value]:
        """The script at this moment."""
        now_s = self.now_s()
        why = self.fault(now_s)
        self._absent = {} if why is None else {self.name: why}
        return {} if why else self.script(now_s)

    def absent(self) -> Mapping[str, str]:
        return self._absent

    def close(self) -> None:
        self.closed = True
