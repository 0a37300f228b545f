"""What this machine has and lacks: readers of facts, and checks that turn facts into findings with a remedy.

A check is a pure function of its facts, so that it can be tried on machines that nobody has. Readers only look: nothing
is started, pulled or changed. A target's `requires` and `scenario doctor` ask the same checks.
"""
