"""What pyproject.toml says of the wheel, without building it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from setuptools import find_packages

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_wheel_holds_every_package() -> None:
    packages = set(find_packages(str(ROOT), include=["runner", "runner.*"]))
    assets = set(PROJECT["tool"]["setuptools"]["package-dir"]) - {"runner"}
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(packages | assets)


DISTRIBUTIONS = {"PIL": "pillow", "google": "protobuf", "grpc": "grpcio", "yaml": "pyyaml"}
"""Import name -> distribution, where they differ."""
PARTS = {"pydantic_core": "pydantic", "requests": "docker"}
"""Import name -> the distribution whose interface it belongs to."""


def imported(source: bytes) -> Iterator[str]:
    """Top-level names of absolute imports."""
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        yield from (name.partition(".")[0] for name in names)


def test_everything_that_is_imported_is_declared_and_explained() -> None:
    project = PROJECT["project"]
    extras = [each for listed in project["optional-dependencies"].values() for each in listed]
    declared = {re.split(r"[\[<>=;! ]", each)[0] for each in (*project["dependencies"], *extras)}
    names = {name for path in (ROOT / "runner").rglob("*.py") for name in imported(path.read_bytes())}
    used = {PARTS.get(name, DISTRIBUTIONS.get(name, name)) for name in names - sys.stdlib_module_names - {"runner"}}
    assert used <= declared
    explained = (ROOT / "docs" / "dependencies.md").read_text()
    assert [name for name in sorted(used) if name not in explained] == []
