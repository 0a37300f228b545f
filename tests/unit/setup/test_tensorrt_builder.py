"""What each TensorRT is told, against files; and the builder's script run on this machine with stand-ins."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.stand_ins.install import StandIn, install

SCRIPTS = Path(__file__).parents[3] / "setup_scripts"
GOLDEN = Path(__file__).with_name("golden_tensorrt")
HELP = Path(__file__).parents[2] / "stand_ins" / "tensorrt"
LARGE = {"INPUT": ([33, 3, 224, 224], [64, 3, 224, 224], [128, 3, 224, 224])}
PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8")
VERSIONS = {8: 8603, 10: 101303, 11: 110400}
SHAPES = {"INPUT": ([1, 3, 224, 224], [8, 3, 224, 224], [32, 3, 224, 224])}


@pytest.fixture(autouse=True, scope="module")
def scripts_on_the_path() -> None:
    """For good: onnxruntime.transformers puts its own folder there, too, and cannot do without."""
    if str(SCRIPTS) not in sys.path:
        sys.path.append(str(SCRIPTS))


def specs() -> dict[str, Any]:
    """Name -> what to build: every precision by itself, and everything else at once."""
    from tensorrt_tools.spec import BuildSpec

    paths = {"onnx": Path("/in/model.onnx"), "output": Path("/out/model.plan"), "layers": Path("/out/layers.json")}
    found = {name: BuildSpec(**paths, precision=name, profiles=(SHAPES,)) for name in PRECISIONS}
    found["everything"] = BuildSpec(
        **paths, precision="fp16", profiles=(SHAPES,), workspace_mib=4096, builder_level=5, sparse=True,
        timing_cache=Path("/cache/timing"), version_compatible=True, hardware_compatibility="ampere_plus",
        plugins=(Path("/lib/a.so"), Path("/lib/b.so")),
    )  # fmt: skip
    found["two profiles"] = BuildSpec(**paths, profiles=(SHAPES, LARGE))
    return found


def buildable(major: int) -> dict[str, Any]:
    """Those that this version can build."""
    return {name: spec for name, spec in specs().items() if major > 8 or name not in ("bf16", "two profiles")}


def tool(major: int, without: str = "") -> Any:
    from tensorrt_tools.spec import Version
    from tensorrt_tools.trtexec import Trtexec

    options = frozenset(re.findall(r"--\w+", (HELP / f"help-{major}.txt").read_text())) - {without}
    return Trtexec("trtexec", Version.from_number(VERSIONS[major]), options)


@pytest.mark.parametrize("major", VERSIONS)
def test_commands_of_trtexec(major: int) -> None:
    from tensorrt_tools.trtexec import build_command

    commands = {name: build_command(tool(major), spec)[0] for name, spec in buildable(major).items()}
    text = "".join("\n".join((f"# {name}", *command)) + "\n\n" for name, command in commands.items())
    assert text == (GOLDEN / f"trtexec-{major}.txt").read_text()


@pytest.mark.parametrize("major", VERSIONS)
def test_plans_of_the_bindings(major: int) -> None:
    from tensorrt_tools.bindings import plan_of

    version = tool(major).version
    text = "".join(f"# {name}\n{plan_of(spec, version).text()}\n\n" for name, spec in buildable(major).items())
    assert text == (GOLDEN / f"bindings-{major}.txt").read_text()


@pytest.mark.parametrize(("number", "text"), [(8603, "8.6.3"), (100300, "10.3.0"), (110400, "11.4.0")])
def test_versions_are_read_as_tensorrt_writes_them(number: int, text: str) -> None:
    from tensorrt_tools.spec import Version

    assert Version.from_number(number).text == text


def test_options_of_other_names_and_lost_ones() -> None:
    from tensorrt_tools.trtexec import build_command

    old = tool(8, without="--skipInference")
    assert "--buildOnly" in build_command(old, specs()["tf32"])[0]
    command, notes = build_command(tool(10, without="--exportLayerInfo"), specs()["tf32"])
    assert not [word for word in command if "LayerInfo" in word]
    assert notes == ["this trtexec has no --exportLayerInfo: no layer information is written"]


@pytest.mark.parametrize(
    ("without", "advice"),
    [
        ("--builderOptimizationLevel", "remove `builder_level`"),
        ("--versionCompatible", "remove `version_compatible`"),
        ("--stronglyTyped", "write `driver: python`"),
    ],
)
def test_what_would_be_another_engine_is_refused(without: str, advice: str) -> None:
    from tensorrt_tools.spec import ToolError
    from tensorrt_tools.trtexec import build_command

    with pytest.raises(ToolError, match=f"has no {without}\n{advice}"):
        build_command(tool(10, without=without), specs()["everything"])


def test_tensorrt_8_has_no_bf16() -> None:
    from tensorrt_tools.bindings import plan_of
    from tensorrt_tools.spec import ToolError
    from tensorrt_tools.trtexec import build_command

    says = r"TensorRT 8\.6\.3 has no bf16\nwrite `precision: fp16`"
    with pytest.raises(ToolError, match=says):
        build_command(tool(8), specs()["bf16"])
    with pytest.raises(ToolError, match=says):
        plan_of(specs()["bf16"], tool(8).version)


def test_several_profiles_need_a_trtexec_that_numbers_them() -> None:
    from tensorrt_tools.bindings import plan_of
    from tensorrt_tools.spec import ToolError
    from tensorrt_tools.trtexec import build_command

    two = specs()["two profiles"]
    command = build_command(tool(10), two)[0]
    assert [word.partition("=")[0] for word in command if "rofile=" in word or "Shapes=" in word] == [
        *("--profile", "--minShapes", "--optShapes", "--maxShapes"),
    ] * 2
    with pytest.raises(ToolError, match=r"TensorRT 8\.6\.3 has no --profile\nwrite `driver: python`"):
        build_command(tool(8), two)
    assert len(plan_of(two, tool(8).version).profiles) == 2


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    return install(tmp_path_factory.mktemp("stand-in") / "tensorrt")


def build(stand_in: StandIn, folder: Path, *arguments: str, version: int, driver: str) -> Any:
    """The script run to its end."""
    stand_in.behave(version=version)
    (folder / "m.onnx").write_bytes(b"model")
    paths = {"PATH": f"{stand_in.folder / 'bin'}:/usr/bin:/bin:{Path(sys.executable).parent}"}
    environment = {**paths, "LD_LIBRARY_PATH": str(stand_in.folder / "lib")}
    return subprocess.run(
        [sys.executable, SCRIPTS / "build_engine.py", "--output", folder / "m.plan", "--onnx", folder / "m.onnx",
         "--driver", driver, *arguments],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("version", [8603, 110400])
def test_the_stand_in_takes_what_it_is_told(stand_in: StandIn, tmp_path: Path, version: int) -> None:
    """An option that this version does not have would end it."""
    done = build(stand_in, tmp_path, "--precision", "int8", version=version, driver="trtexec")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "build.json").read_text())["gpu"]["mig_profile"] == "1g.10gb"
    assert json.loads((tmp_path / "m.plan.facts.json").read_text())["labels"]["precision"] == "int8"
    assert not list(tmp_path.glob(".*"))


def test_the_stand_in_builds_two_profiles(stand_in: StandIn, tmp_path: Path) -> None:
    profiles = json.dumps([SHAPES, LARGE])
    done = build(stand_in, tmp_path, "--profiles", profiles, version=101303, driver="trtexec")
    assert done.returncode == 0, done.stdout + done.stderr
    done = build(stand_in, tmp_path, "--profiles", profiles, version=8603, driver="trtexec")
    assert "build_engine: trtexec of TensorRT 8.6.3 has no --profile\nwrite `driver: python`" in done.stderr


def test_a_driver_that_is_not_there_is_named(stand_in: StandIn, tmp_path: Path) -> None:
    done = build(stand_in, tmp_path, version=101303, driver="python")
    assert done.returncode == 1
    assert done.stderr == "build_engine: there is no Python module `tensorrt` here\nwrite `driver: auto`\n"
