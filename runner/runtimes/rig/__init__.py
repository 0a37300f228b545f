"""Settings of the machine for the time of a server: clocks, power limit, persistence, processors.

What was in force before is written to the ledger of the state directory before anything is changed, and taken back on
leaving. What a killed run left in force is taken back by the next run of that scenario, or by `scenario reset`.
"""

from runner.runtimes.rig.hold import Applied, rig_controls
from runner.runtimes.rig.undo import restore_entry

__all__ = ["Applied", "restore_entry", "rig_controls"]
