"""`scenario tune`: points are asked for, tried and told; the best are confirmed before one of them is called better.

A study is a run directory: its measurements are ordinary trials, its decisions are events beside them in the journal.
"""

from runner.workflow.tuning.contract import SilentStudy, StudyObserver, StudyOutcome
from runner.workflow.tuning.planning import StudyPreview, preview_study
from runner.workflow.tuning.studying import tune_scenario

__all__ = ["SilentStudy", "StudyObserver", "StudyOutcome", "StudyPreview", "preview_study", "tune_scenario"]
