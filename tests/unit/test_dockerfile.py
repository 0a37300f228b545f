"""The Dockerfile without building it: its stages, who runs in them, and what must not be in it or go into it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def stages() -> dict[str, list[str]]:
    """Stage -> its instructions, continued lines joined, comments left out."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found: dict[str, list[str]] = {"": []}
    for line in lines:
        if match := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            found[match[2]] = []
        found[list(found)[-1]].append(line)
    return found


def test_every_base_image_can_be_replaced() -> None:
    head, *rest = stages().values()
    named = {match[1] for line in head if (match := re.fullmatch(r"ARG (\w+)=\S+", line))}
    assert named == {"RUST_IMAGE", "PYTHON_IMAGE", "TRITON_IMAGE"}
    assert {stage[0].split()[1] for stage in rest} == {f"${{{name}}}" for name in named}


def test_what_is_run_is_nobody_and_has_the_command() -> None:
    for name in ("client", "all-in-one"):
        stage = stages()[name]
        (*_, user) = [line.removeprefix("USER ") for line in stage if line.startswith("USER ")]
        assert user.split(":")[0] not in ("0", "root"), name
        assert 'ENTRYPOINT ["scenario"]' in stage, name
    assert list(stages())[-2:] == ["client", "all-in-one"], "the classic builder makes every stage before the target"


def test_no_feature_of_buildkit_is_needed() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert not re.search(r"--mount=|<<|# syntax", text)


def test_no_registry_and_no_secret_is_in_it() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert not re.search(r"https?://|trusted-host|--index-url|password=|token", text, re.IGNORECASE)
    kept = [line for line in text.splitlines() if re.match(r"(ENV|ARG) .*(INDEX_URL|CERT).*=", line)]
    assert kept == [], "settings of registries come with the build"


def test_the_context_holds_sources_only() -> None:
    left_out = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "**/*.so", "engine/target", "runs"} <= set(left_out)
    needed = ("README.md", "LICENSE", "pyproject.toml", "MANIFEST.in", "engine", "runner", "scenarios")
    assert not set(needed) & set(left_out)
