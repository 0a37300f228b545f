"""The script that unpacks a wheel for a model."""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "setup_scripts" / "unpack_wheel.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("unpack_wheel", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wheel(folder: Path, name: str) -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("thing/__init__.py", "VALUE = 7\n")
    return path


def test_the_files_are_there_afterwards(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = wheel(tmp_path, "thing-1.0-py3-none-any.whl")
    assert script.main(["--output", str(tmp_path / "packages"), "--wheel", str(path)]) == 0
    assert (tmp_path / "packages" / "thing" / "__init__.py").read_text() == "VALUE = 7\n"
    assert "1 files" in capsys.readouterr().out


@pytest.mark.parametrize("member", ["../escaped.py", "thing/../../escaped.py", "/escaped.py"])
def test_a_wheel_with_a_file_outside_of_it_is_refused(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], member: str
) -> None:
    path = wheel(tmp_path, "thing-1.0-py3-none-any.whl")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(member, "")
    assert script.main(["--output", str(tmp_path / "packages"), "--wheel", str(path)]) == 1
    assert f"holds the file {member}, which is outside of it" in capsys.readouterr().err
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


OURS = f"cp{sys.version_info[0]}{sys.version_info[1]}"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("thing-1.0-cp27-cp27m-manylinux_2_28_x86_64.whl", f"is for cp27, this Python is {OURS}: fetch its wheel"),
        (f"thing-1.0-{OURS}-{OURS}-manylinux_2_28_s390x.whl", "is for manylinux_2_28_s390x, this machine is"),
        ("thing.whl", "is not called as a wheel is"),
        ("thing-1.0-py3-none-any.zip", "is not called as a wheel is"),
    ],
)
def test_a_wheel_for_something_else_is_refused(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, says: str
) -> None:
    path = wheel(tmp_path, name)
    assert script.main(["--output", str(tmp_path / "packages"), "--wheel", str(path)]) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "packages").exists()


def test_a_file_that_is_no_archive_is_refused(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "thing-1.0-py3-none-any.whl"
    path.write_text("<html>")
    assert script.main(["--output", str(tmp_path / "packages"), "--wheel", str(path)]) == 1
    assert "cannot be read" in capsys.readouterr().err
