"""`--bls-composing-models` with versions: the statistics shown are of the version that was named."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.runtimes.base import RunningServer, ServerSpec
from runner.runtimes.embedded import EmbeddedRuntime
from tests.integration.perf_runs import MEASURED, Perf

MODELS = Path(__file__).parent / "resources" / "models"
REQUESTS = "30"


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """`caller` calls version 1 of `sleepy`, which needs 10 ms, for each of version 2, which needs 40 ms."""
    folder = tmp_path_factory.mktemp("versions")
    for name in ("sleepy", "caller"):
        shutil.copytree(MODELS / name, folder / "models" / name, ignore=shutil.ignore_patterns("__pycache__"))
    sleepy, caller = folder / "models" / "sleepy", folder / "models" / "caller"
    shutil.copytree(sleepy / "1", sleepy / "2")
    change(sleepy / "config.pbtxt", 'backend: "python"', 'backend: "python"\nversion_policy { all {} }')
    change(sleepy / "2" / "model.py", "/ 1000", "/ 250")
    change(caller / "1" / "model.py", "        answer = call.exec()", EACH_VERSION)
    spec = ServerSpec(
        repository=folder / "models",
        load=("sleepy", "caller"),
        canary="caller",
        run_id="versions",
        log=folder / "server.log",
    )
    with EmbeddedRuntime(folder / "state").start(spec) as server:
        yield server


EACH_VERSION = """\
        for version in (1, 2):
            names = {"model_name": "sleepy", "requested_output_names": ["OUTPUT0"]}
            answer = pb_utils.InferenceRequest(model_version=version, inputs=[given], **names).exec()"""


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize(
    ("named", "version", "share", "least_us", "most_us"),
    [("sleepy:1", "1", 1, 10_000, 39_000), ("sleepy:2", "2", 1, 40_000, 10**9), ("sleepy", "1,2", 2, 25_000, 10**9)],
)
def test_the_statistics_are_of_the_named_version(
    protocol: str,
    named: str,
    version: str,
    share: int,
    least_us: int,
    most_us: int,
    versions: RunningServer,
    perf: Perf,
    capsys: pytest.CaptureFixture[str],
) -> None:
    perf.server = versions
    load = ("-m", "caller", "-i", protocol, "--shape", "INPUT0:2", "--request-count", REQUESTS, "-f", "out.csv")
    assert perf(*load, "--bls-composing-models", named) in MEASURED
    assert f"  sleepy, version: {version}\n      Inference count: {share * int(REQUESTS)}\n" in capsys.readouterr().out
    (file,) = perf.folder.glob("*.out.csv")
    with (perf.folder / "out.csv").open() as whole, file.open() as part:
        (called,), (row,) = csv.DictReader(whole), csv.DictReader(part)
    assert file.name == f"sleepy_v{version.replace(',', '_')}.out.csv"
    assert float(row["Inferences/Second"]) == pytest.approx(share * float(called["Inferences/Second"]), rel=1e-4)
    assert least_us <= int(row["Server Compute Infer"]) < most_us


def test_an_unknown_version_is_told_before_the_load(
    versions: RunningServer, perf: Perf, capsys: pytest.CaptureFixture[str]
) -> None:
    perf.server = versions
    assert perf("-m", "caller", "--shape", "INPUT0:2", "--bls-composing-models", "sleepy:3") == 4
    assert "sleepy" in (told := capsys.readouterr().err)
    assert "3" in told
