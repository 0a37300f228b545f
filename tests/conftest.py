"""Settings of all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Time limits of single examples say more of a busy machine than of the code: pytest's own time-out ends what hangs.
settings.register_profile("quiet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("quiet")
