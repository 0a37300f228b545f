"""The conductor: a scenario becomes cases, setup makes artifacts, a runtime serves, measure judges, results keep.

The only room that sees every other one. Rooms with heavy imports are entered only when they are needed.
"""

from runner.workflow.contract import Observer, Outcome, Plan, Rooms, RunOptions, Silent
from runner.workflow.groups import largest_batch, state_of
from runner.workflow.order import Planned, server_groups
from runner.workflow.session import MAX_SERVER_DEATHS
from runner.workflow.verbs import checked_cases, plan_scenario, reset_scenario, run_scenario, setup_scenario

__all__ = [
    "MAX_SERVER_DEATHS",
    "Observer",
    "Outcome",
    "Plan",
    "Planned",
    "Rooms",
    "RunOptions",
    "Silent",
    "checked_cases",
    "largest_batch",
    "plan_scenario",
    "reset_scenario",
    "run_scenario",
    "server_groups",
    "setup_scenario",
    "state_of",
]
