"""Settings of all tests."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell ignores it for what it starts in the background, and so would everything that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Time limits of single examples say more of a busy machine than of the code: pytest's own time-out ends what hangs.
settings.register_profile("quiet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("quiet")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with servers, run in two processes: those with containers in one, each file of the others in one.

    They wait for servers most of the time; what a file's tests share is made once.
    """
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        if folder != "unit":
            item.add_marker(pytest.mark.xdist_group("docker" if folder == "docker" else item.path.stem))
