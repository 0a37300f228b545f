"""A Docker engine and a serving image made without a registry, for the whole session."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.errors import RigError
from runner.runtimes.docker.engine import connect
from runner.runtimes.docker.labels import RUN
from tests.docker.build_image import ensure_image

MODELS = Path(__file__).parents[1] / "integration" / "resources" / "models"


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """One test with containers at a time, whoever runs it: some leave a container of a killed run, and any run that
    starts meanwhile would remove it."""
    with (Path(tempfile.gettempdir()) / f"scenario-docker-tests-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def client() -> Any:
    """The engine; the only reason to skip is that none can be reached."""
    pytest.importorskip("docker", reason="the Docker SDK for Python is not installed")
    try:
        return connect()
    except RigError as error:
        pytest.skip(error.message)


@pytest.fixture(scope="session")
def image(client: Any) -> str:
    """The serving image; the first session on a machine makes it in about a minute."""
    return ensure_image(client)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test models, at a place of their own as users have them."""
    ignore = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(MODELS, tmp_path_factory.mktemp("models") / "models", ignore=ignore))


@pytest.fixture
def containers_of(client: Any) -> Any:
    """The containers of a run, by the label that they carry."""
    return lambda run_id: client.containers.list(all=True, filters={"label": f"{RUN}={run_id}"}, ignore_removed=True)


@pytest.fixture
def run_id(tmp_path: Path, containers_of: Any) -> Iterator[str]:
    """Unique to the test, which must leave no container of it."""
    name = tmp_path.name.replace("_", "-")[-40:] + f"-{abs(hash(str(tmp_path))) % 10**8}"
    yield name
    left = containers_of(name)
    for container in left:
        container.remove(force=True)
    assert [container.name for container in left] == []
