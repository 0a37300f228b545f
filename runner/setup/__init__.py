"""Setup: everything a scenario needs before its server starts, made once and undone exactly."""
