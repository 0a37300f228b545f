"""Settings of all tests."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell ignores it for what it starts in the background, and so would everything that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Time limits of single examples say more of a busy machine than of the code: pytest's own time-out ends what hangs.
settings.register_profile("quiet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("quiet")
