"""What needs a GPU: skipped, with the reason, where there is none, no Docker engine, or no serving image.

The image is never pulled here: `docker pull nvcr.io/nvidia/tritonserver:26.04-py3` beforehand, or name another one in
SCENARIO_TEST_GPU_IMAGE.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from runner.errors import RigError
from runner.runtimes.docker import images
from runner.runtimes.docker.engine import connect
from runner.runtimes.host import gpu_count

IMAGE = os.environ.get("SCENARIO_TEST_GPU_IMAGE", "nvcr.io/nvidia/tritonserver:26.04-py3")


@pytest.fixture(scope="session", autouse=True)
def gpus() -> int:
    """How many there are."""
    found = gpu_count()
    if not found:
        pytest.skip("no NVIDIA GPU is visible here")
    return found


@pytest.fixture(scope="session")
def client(gpus: int) -> Any:
    """The engine."""
    pytest.importorskip("docker", reason="the Docker SDK for Python is not installed")
    try:
        return connect()
    except RigError as error:
        pytest.skip(error.message)


@pytest.fixture(scope="session")
def image(client: Any) -> str:
    """The vendor's serving image, with the DALI and TensorRT backends."""
    if images.find(client, IMAGE) is None:
        pytest.skip(f"{IMAGE} is not here: docker pull it first")
    return IMAGE
