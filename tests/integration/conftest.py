"""A real Triton server, once for all integration tests.

`triton` is a `RunningServer` with the models of `resources/models`:

- `identity`        INPUT0 FP32 [-1] -> OUTPUT0, batches up to 64
- `identity_bytes`  INPUT0 BYTES [-1] -> OUTPUT0, batches up to 64
- `echo`            one optional input per datatype (named like it), each given one comes back as OUT_<name>
- `sleepy`          OUTPUT0 = INPUT0 after 10 ms, or after DELAY_MS (FP32 [1]) of the request;
                    FAIL (INT32 [1]) = 1 answers with an error, 3 raises an exception,
                    2 ends the model's process: only on a server of your own
- `chain`           ensemble: identity, then sleepy
- `nested`          ensemble: chain, then identity
- `backwards`       ensemble: sleepy, then identity
- `caller`          its code calls sleepy
- `accumulate`      sequences: OUTPUT0 = sum of INPUT0 so far, refuses what is out of order; INPUT0 = -1 fails
- `repeat`          decoupled: as many responses as INPUT0 (INT32 [1]) says, DELAY_MS (FP32 [1]) apart; below 0 fails
- `add_sub`         INPUT0, INPUT1 INT32 [4, 4] -> OUTPUT0 = their difference, OUTPUT1 = their sum
- `matrix`          INPUT INT32 [-1, -1] -> OUTPUT
- `image`           IMAGE FP32 [3, -1, -1] -> MEAN of each channel
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from runner.runtimes.base import RunningServer, ServerSpec
from runner.runtimes.embedded import EmbeddedRuntime
from runner.services.kserve import KServeGrpc
from tests.integration.command import Cli, wait_for
from tests.integration.perf_runs import Perf

MODELS = Path(__file__).parent / "resources" / "models"
ALL = (
    *("identity", "identity_bytes", "echo", "sleepy", "nested", "backwards", "caller", "accumulate", "repeat"),
    *("add_sub", "matrix", "image"),
)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the test models: serving them leaves `__pycache__` beside each model."""
    ignore = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(MODELS, tmp_path_factory.mktemp("models") / "models", ignore=ignore))


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[RunningServer]:
    """The shared server: do not break it."""
    folder = tmp_path_factory.mktemp("triton")
    spec = ServerSpec(repository=models, load=ALL, canary="nested", run_id="shared", log=folder / "server.log")
    with EmbeddedRuntime(folder / "state").start(spec) as server:
        yield server


@pytest.fixture
def kserve(triton: RunningServer) -> Iterator[KServeGrpc]:
    """A client of the shared server."""
    with closing(KServeGrpc(triton.endpoint.grpc)) as service:
        yield service


@pytest.fixture
def perf(triton: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Perf:
    """`scenario perf` against the shared server, in a scratch folder with a home of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCENARIO_HOME", str(tmp_path / "home"))
    return Perf(triton, tmp_path)


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """The command line, of which no process and no shared memory stays."""
    made = Cli(tmp_path)
    yield made
    wait_for(lambda: not made.leftovers(), "nothing is left behind")


@pytest.fixture
def make_repository(tmp_path: Path) -> Callable[..., Path]:
    """Make a repository of `identity` and a python model of its kind for each name=source given."""

    def make(**sources: str) -> Path:
        repository = tmp_path / "repository"
        shutil.copytree(MODELS / "identity", repository / "identity")
        for name, source in sources.items():
            shutil.copytree(MODELS / "identity", repository / name)
            (repository / name / "1" / "model.py").write_text(source)
        return repository

    return make
