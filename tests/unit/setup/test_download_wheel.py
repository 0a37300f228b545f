"""The script that has pip download one wheel: with the real pip, from a folder."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from runner.scenario.schema import ScriptStep
from runner.setup.digest import DigestCache
from runner.setup.script import RunScript
from tests.contracts.step import run as run_step

SCRIPT = Path(__file__).parents[3] / "setup_scripts" / "download_wheel.py"
PUBLISHED = "thing-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Compiled for another Python; pip looks nowhere but in its folder."""
    path = tmp_path / "published" / PUBLISHED
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("thing/__init__.py", "VALUE = 7\n")
        archive.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        archive.writestr("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: cp312-cp312-manylinux_2_28_x86_64\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    return path


def run(output: Path, sha256: str, python: str = "3.12") -> subprocess.CompletedProcess[str]:
    asked = ["--package", "thing==1.0", "--sha256", sha256, "--python", python, "--platform", "manylinux_2_28_x86_64"]
    command = [sys.executable, str(SCRIPT), "--output", str(output), *asked]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_wheel_of_another_python_is_downloaded(wheel: Path, tmp_path: Path) -> None:
    done = run(tmp_path / PUBLISHED, hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert (done.returncode, done.stdout) == (0, f"{PUBLISHED}\n"), done.stderr
    assert (tmp_path / PUBLISHED).read_bytes() == wheel.read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([PUBLISHED, "published"])


@pytest.mark.parametrize(("sha256", "python"), [("0" * 64, "3.12"), (None, "3.11")])
def test_another_file_or_another_python_is_refused(
    wheel: Path, tmp_path: Path, sha256: str | None, python: str
) -> None:
    done = run(tmp_path / PUBLISHED, sha256 or hashlib.sha256(wheel.read_bytes()).hexdigest(), python)
    assert done.returncode == 1
    assert f"error: pip cannot download thing==1.0 for Python {python}" in done.stderr
    assert not (tmp_path / PUBLISHED).exists()


def test_settings_of_pip_reach_it_in_a_step(wheel: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    args = {"package": "thing==1.0", "sha256": digest, "python": "3.12", "platform": "manylinux_2_28_x86_64"}
    config = ScriptStep(kind="script", script=str(SCRIPT), network=True, args=args, output=PUBLISHED)
    product, _ = run_step(RunScript("wheel", config, DigestCache(tmp_path / "cache")), {}, tmp_path / "work")
    assert product.path.read_bytes() == wheel.read_bytes()
