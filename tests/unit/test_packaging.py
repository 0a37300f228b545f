"""What pyproject.toml says of the wheel, without building it."""

from __future__ import annotations

import tomllib
from pathlib import Path

from setuptools import find_packages

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_wheel_holds_every_package() -> None:
    packages = set(find_packages(str(ROOT), include=["runner", "runner.*"]))
    assets = set(PROJECT["tool"]["setuptools"]["package-dir"]) - {"runner"}
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(packages | assets)
