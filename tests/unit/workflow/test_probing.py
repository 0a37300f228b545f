"""How long a load of a search lasts, and by which rule."""

from __future__ import annotations

from typing import Any

import pytest

from runner.errors import UsageError
from runner.measure.loads import settings_for
from runner.measure.settings import MeasureSettings, resolve
from runner.scenario.schema import Measure, SlaLoad
from runner.tune.capacity import Ask
from runner.workflow.probing import probe_settings

WINDOWS = {"kind": "windows", "interval": "3s", "within": "20%", "trials": 4}


def settled(stability: dict[str, Any] | None = None, **load: Any) -> MeasureSettings:
    known: dict[str, Any] = {"kind": "sla", "latency": "100ms", "strategy": "pa_linear", "percentile": 97, **load}
    asked = SlaLoad.model_validate(known)
    settings = settings_for(resolve(Measure.model_validate({"stability": stability} if stability else {})), asked)
    rule: Any = "stable mean" if asked.statistic == "mean" else "stable percentile"
    return probe_settings(settings, Ask("climb", "rate", 10.0, rule, 10.0, 10.0), asked, 0, 0)


def test_windows_are_perf_analyzers_unless_the_scenario_says_others() -> None:
    found = settled().windows
    assert found is not None
    assert (found.interval_s, found.within, found.trials, found.percentile) == (6.0, 0.10, 10, 97)
    own = settled(WINDOWS)
    assert own.windows is not None
    assert (own.windows.interval_s, own.windows.within, own.windows.trials) == (3.0, 0.20, 4)
    assert own.window_max_s == 12


def test_the_mean_is_compared_where_the_mean_is_limited() -> None:
    found = settled(WINDOWS, statistic="mean").windows
    assert found is not None
    assert found.percentile is None


def test_a_search_with_verdicts_has_no_use_for_windows() -> None:
    with pytest.raises(UsageError, match=r"measure\.stability\.kind"):
        settled(WINDOWS, strategy="bracket")
