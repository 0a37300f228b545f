"""Settings of GPUs: set, written down, taken back, whatever happens; with a board whose settings outlive a process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from runner.errors import RigError
from runner.results.nvml import session
from runner.results.nvml_fake import FakeGpu
from runner.results.nvml_fake_settings import SettableNvmlLibrary
from runner.runtimes.rig import Applied, gpus, hold, rig_controls
from runner.runtimes.rig.cpus import Placement
from runner.runtimes.rig.settings import POWER
from runner.runtimes.rig.undo import before_of, path_of
from runner.scenario.schema import DockerLaunch, EmbeddedLaunch, Launch
from runner.scenario.schema_rig import Rig
from runner.setup.ledger import Ledger
from runner.setup.reset import reset
from runner.setup.rig import undo_setting
from runner.setup.state import StateDirectory

ALL = {"lock_clocks": {"graphics": 1410, "memory": 9501}, "power_limit": "250W", "persistence": True}
FRESH = {"power": 700_000, "persistence": 0, "clocks": None, "memory_clocks": None}
HELD = {"power": 250_000, "persistence": 1, "clocks": [1410, 1410], "memory_clocks": [9501, 9501]}
Control = Callable[..., AbstractContextManager[Applied]]


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests have a GPU-0, too; processes of these tests look in the same place."""
    monkeypatch.setattr(gpus, "LOCKS", tmp_path)


@pytest.fixture
def library(tmp_path: Path) -> SettableNvmlLibrary:
    return SettableNvmlLibrary(tmp_path / "boards.json", [FakeGpu(), FakeGpu()])


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.jsonl")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def control(library: SettableNvmlLibrary, ledger: Ledger, said: list[str]) -> Control:
    """Controls of a rig that is written as in a file; None for a target without one."""

    def controls(written: dict[str, Any] | None, launch: Launch | None = None) -> AbstractContextManager[Applied]:
        rig = None if written is None else Rig.model_validate(written)
        return rig_controls(rig, launch or EmbeddedLaunch(), ledger, said.append, lambda name: library)

    return controls


def test_everything_is_in_force_inside_and_as_before_outside(
    control: Control, library: SettableNvmlLibrary, ledger: Ledger, said: list[str]
) -> None:
    with control(ALL) as applied:
        assert [library.settings(index) for index in (0, 1)] == [HELD, HELD]
        assert [(e.kind, str(e.path), e.group) for e in ledger.entries()] == [
            (kind, f"gpu/GPU-{index}", "rig")
            for kind in ("persistence", "power", "clocks", "memory_clocks")
            for index in (0, 1)
        ]
        assert library.sessions == 1, "open all the time: the driver forgets settings when nobody has it open"
    assert [library.settings(index) for index in (0, 1)] == [FRESH, FRESH]
    assert (ledger.entries(), library.sessions, said) == ((), 0, [])
    assert applied.facts == {
        **{f"rig_persistence_gpu{n}": "on (before: off)" for n in (0, 1)},
        **{f"rig_power_gpu{n}": "250 W (before: 700 W)" for n in (0, 1)},
        **{f"rig_clocks_gpu{n}": "1410 MHz (before: not told by NVML)" for n in (0, 1)},
        **{f"rig_memory_clocks_gpu{n}": "9501 MHz (before: not told by NVML)" for n in (0, 1)},
    }
    assert applied.labels["rig"].startswith("GPU 0 persistence mode on; GPU 1 persistence mode on; GPU 0 power limit")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_whatever_happens_inside(control: Control, library: SettableNvmlLibrary, error: type[BaseException]) -> None:
    with pytest.raises(error), control(ALL):
        raise error
    assert library.settings() == FRESH


def test_without_a_wish_nothing_is_asked(control: Control, library: SettableNvmlLibrary) -> None:
    library.path.write_text("no board at all")
    for written in (None, {}, {"client_cpus": "0"}):
        with control(written) as applied:
            assert applied.placement.cpus == ()


def test_what_is_in_force_already_is_left_and_told(
    control: Control, library: SettableNvmlLibrary, ledger: Ledger
) -> None:
    library.path.write_text(json.dumps({"0": HELD}))
    with control({"persistence": True, "power_limit": "250W", "gpus": [0]}) as applied:
        assert ledger.entries() == ()
    assert library.settings() == HELD
    assert applied.facts["rig_power_gpu0"] == "250 W (before: 250 W)"


@pytest.mark.parametrize(("wanted", "mhz"), [("base", 1095), ("max", 1980), (1410, 1410)])
def test_clocks_by_name(control: Control, library: SettableNvmlLibrary, wanted: Any, mhz: int) -> None:
    with control({"lock_clocks": wanted}):
        assert library.settings()["clocks"] == [mhz, mhz]


@pytest.mark.parametrize(
    ("written", "says", "hint"),
    [
        ({"lock_clocks": 2000}, r"rig\.lock_clocks: expected at most 1980 MHz on this GPU, got 2000 MHz", None),
        ({"power_limit": "0.8kW"}, r"rig\.power_limit: expected 100 W to 700 W on this GPU, got 800 W", None),
        ({"power_limit": "50W"}, r"expected 100 W to 700 W on this GPU, got 50 W", None),
        ({"gpus": [7], "persistence": True}, r"rig\.gpus: 7 is no whole GPU .* 0 GPU-0, 1 GPU-1", "nvidia-smi -L"),
        ({"gpus": 3, "persistence": True}, r"rig\.gpus: 3 asked for, 2 here", "nvidia-smi -L"),
        ({"gpus": "none", "persistence": True}, r"rig\.gpus: none asked for", "nvidia-smi -L"),
        ({"client_cpus": "0,4000"}, r"rig\.client_cpus: this machine has no CPUs 4000; there are 0", "rig.client_cpus"),
        (
            {"server_cpus": {"numa": 900}},
            r"rig\.server_cpus: this machine has no NUMA node 900; there are ",
            "name one",
        ),
    ],
)
def test_what_this_machine_cannot_have_is_refused(
    control: Control, library: SettableNvmlLibrary, ledger: Ledger, written: Any, says: str, hint: str | None
) -> None:
    with pytest.raises(RigError, match=says) as caught, control(written):
        pytest.fail("in force")
    assert hint is None or hint in (caught.value.hint or "")
    assert (library.settings(), ledger.entries()) == (FRESH, ())


def test_a_board_without_base_clocks_says_what_to_write(control: Control, library: SettableNvmlLibrary) -> None:
    library.refused["nvmlDeviceGetDefaultApplicationsClock"] = 3
    with (
        pytest.raises(RigError, match=r"rig\.lock_clocks: GPU 0 does not support this") as caught,
        control({"lock_clocks": "base"}),
    ):
        pytest.fail("in force")
    assert "`lock_clocks: 1410`" in (caught.value.hint or "")


def test_who_is_not_root_is_told_the_command(control: Control, library: SettableNvmlLibrary, ledger: Ledger) -> None:
    library.root = False
    with (
        pytest.raises(RigError, match="the driver lets only root change this") as caught,
        control({"lock_clocks": 1410}),
    ):
        pytest.fail("in force")
    assert caught.value.exit_code == 3
    assert "sudo nvidia-smi -i 0 -lgc 1410,1410" in (caught.value.hint or "")
    assert ledger.entries() == (), "nothing was changed"


def test_a_setting_that_fails_takes_the_others_back(
    control: Control, library: SettableNvmlLibrary, ledger: Ledger
) -> None:
    library.without = frozenset({"nvmlDeviceSetMemoryLockedClocks"})
    with pytest.raises(RigError, match="this driver's library is too old"), control(ALL):
        pytest.fail("in force")
    assert (library.settings(0), library.settings(1), ledger.entries()) == (FRESH, FRESH, ())


def test_a_setting_that_does_nothing_is_noticed(control: Control, library: SettableNvmlLibrary) -> None:
    library.deaf.add("power")
    with pytest.raises(RigError, match="250 W was accepted, but 700 W is in force"), control({"power_limit": "250W"}):
        pytest.fail("in force")


def test_without_a_driver(ledger: Ledger) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: no such file")

    rig = Rig.model_validate({"persistence": True})
    with (
        pytest.raises(RigError, match=r"rig asks for settings of GPUs, but: no NVIDIA driver"),
        rig_controls(rig, EmbeddedLaunch(), ledger, load=missing),
    ):
        pytest.fail("in force")


def test_what_cannot_be_taken_back_is_told_and_stays_in_the_ledger(
    control: Control, library: SettableNvmlLibrary, ledger: Ledger, said: list[str]
) -> None:
    with control({"power_limit": "250W", "gpus": 1}):
        library.root = False
    [line] = said
    assert "power limit of GPU 0 could not be taken back" in line
    assert "sudo nvidia-smi -i 0 -pl 700" in line
    assert [entry.kind for entry in ledger.entries()] == ["power"]


def test_a_lock_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "scenario-GPU-0.lock").mkdir()
    with (
        pytest.raises(RigError, match=r"cannot lock GPU-0 with .*scenario-GPU-0\.lock: Is a directory"),
        gpus.alone("GPU-0"),
    ):
        pass


def test_who_is_not_root_locks_among_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "LOCKS", tmp_path / "none")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with gpus.alone("GPU-0"):
        assert [path.name for path in tmp_path.iterdir()] == ["scenario-GPU-0.lock"]


def test_two_runs_do_not_set_one_gpu(control: Control, tmp_path: Path) -> None:
    with control({"persistence": True, "gpus": [1]}):
        with control({"persistence": True, "gpus": [0]}):
            pass
        with pytest.raises(RigError, match=r"another run \(process \d+\) has settings of GPU-1 in force"), control(ALL):
            pytest.fail("in force")
    assert list(tmp_path.glob("*.lock")) == []


@pytest.mark.parametrize(
    ("which", "launch", "environment", "set_"),
    [
        (None, {}, "", [0, 1]),
        (None, {}, "1", [1]),
        (None, {"kind": "docker", "image": "x"}, "1", [0, 1]),
        (None, {"kind": "docker", "image": "x", "gpus": ["GPU-1"]}, "", [1]),
        (1, {"kind": "docker", "image": "x", "gpus": "all"}, "", [0]),
        ("all", {"kind": "docker", "image": "x", "gpus": 1}, "", [0, 1]),
    ],
)
def test_which_gpus_are_set(
    control: Control, library: SettableNvmlLibrary, monkeypatch: pytest.MonkeyPatch,
    which: Any, launch: dict[str, Any], environment: str, set_: list[int],
) -> None:  # fmt: skip
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", environment)
    how = DockerLaunch.model_validate(launch) if launch else None
    with control({"persistence": True, **({"gpus": which} if which else {})}, how):
        assert [index for index in (0, 1) if library.settings(index)["persistence"]] == set_


@pytest.mark.parametrize(
    ("launch", "refusal", "nodes", "told"),
    [
        ({}, None, (0,), "node 0"),
        ({}, "refused by the kernel (EPERM)", (), "refused by the kernel (EPERM)"),
        ({"kind": "docker", "image": "x"}, "refused by the kernel (EPERM)", (0,), "node 0"),
    ],
)
def test_memory_of_a_node_as_far_as_the_kernel_allows(
    control: Control, monkeypatch: pytest.MonkeyPatch,
    launch: dict[str, Any], refusal: str | None, nodes: tuple[int, ...], told: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(hold, "memory_refusal", lambda nodes: refusal)
    monkeypatch.setattr(hold, "server_placement", lambda rig: Placement((0, 1), (0,)))
    how = DockerLaunch.model_validate(launch) if launch else None
    with control({"server_cpus": {"numa": 0}}, how) as applied:
        assert applied.placement == Placement((0, 1), nodes)
    assert (applied.facts["rig_server_memory"], applied.facts["rig_server_cpus"]) == (told, "0-1")


HOLD = """
import sys, time
from pathlib import Path
from runner.results.nvml_fake_settings import SettableNvmlLibrary
from runner.runtimes.rig import gpus, rig_controls
from runner.scenario.schema import EmbeddedLaunch
from runner.scenario.schema_rig import Rig
from runner.setup.ledger import Ledger

library = SettableNvmlLibrary(Path(sys.argv[2]))
gpus.LOCKS = Path(sys.argv[2]).parent
rig = Rig.model_validate({"lock_clocks": 1410, "power_limit": "250W"})
with rig_controls(rig, EmbeddedLaunch(), Ledger(Path(sys.argv[1])), load=lambda name: library):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def killed(library: SettableNvmlLibrary) -> Callable[[Path], None]:
    """Holds settings in another process until it is killed; argument: its ledger."""

    def kill(ledger: Path) -> None:
        command = [sys.executable, "-c", HOLD, str(ledger), str(library.path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
            try:
                assert holder.stdout is not None
                assert holder.stdout.readline() == "held\n"
                refused = undo_setting(Ledger(ledger).entries()[-1], False, lambda name: library)
                assert (refused.status, f"process {holder.pid}" in refused.reason) == ("refused", True), "its run lives"
            finally:
                holder.send_signal(signal.SIGKILL)
        assert library.settings() == {**FRESH, "power": 250_000, "clocks": [1410, 1410]}

    return kill


def test_the_next_run_takes_back_what_a_killed_one_left(
    killed: Callable[[Path], None], control: Control, library: SettableNvmlLibrary, ledger: Ledger, said: list[str]
) -> None:
    killed(ledger.path)
    library.root = False
    with pytest.raises(RigError, match="a run that was killed left GPUs with other settings") as caught, control(None):
        pytest.fail("as if nothing were")
    assert "scenario reset" in (caught.value.hint or "")
    assert len(ledger.entries()) == 2
    library.root = True
    with control(None):
        assert library.settings() == FRESH
    assert ledger.entries() == ()
    assert [line.split(":")[0] for line in said] == ["took back what a killed run left"] * 2


def test_reset_takes_back_what_a_killed_run_left(
    killed: Callable[[Path], None], library: SettableNvmlLibrary, tmp_path: Path
) -> None:
    state = StateDirectory.for_scenario("x", tmp_path / "x.yaml", tmp_path / "home")
    state.create()
    killed(state.ledger.path)
    undo = partial(undo_setting, load=lambda name: library)
    handlers = {"clocks": undo, "power": undo}
    planned = reset(state, handlers=handlers, dry_run=True)
    assert [removal.status for removal in planned if removal.kind in handlers] == ["would restore"] * 2
    library.root = False
    failed = [removal for removal in reset(state, handlers=handlers) if removal.kind in handlers]
    assert [removal.status for removal in failed] == ["failed"] * 2
    assert "sudo nvidia-smi -i GPU-0 -rgc" in failed[0].reason
    library.root = True
    removals = reset(state, handlers=handlers)
    assert [(removal.kind, removal.status) for removal in removals] == [
        ("clocks", "restored"), ("power", "restored"), ("directory", "removed"),
    ]  # fmt: skip
    assert library.settings() == FRESH
    assert not state.path.exists()


def test_what_a_killed_run_left_waits_for_whoever_has_the_gpu_now(
    killed: Callable[[Path], None], control: Control, library: SettableNvmlLibrary, tmp_path: Path
) -> None:
    theirs = Ledger(tmp_path / "theirs.jsonl")
    killed(theirs.path)
    entry = theirs.entries()[-1]
    with control({"lock_clocks": 1000}):
        removal = undo_setting(entry, False, lambda name: library)
        assert (removal.status, library.settings()["clocks"]) == ("refused", [1000, 1000])
    assert undo_setting(entry, False, lambda name: library).status == "restored"


def test_a_restart_of_the_machine_has_taken_everything_back(
    control: Control, library: SettableNvmlLibrary, ledger: Ledger, said: list[str]
) -> None:
    kept = json.loads(before_of(300_000))
    kept["owner"]["boot_id"] = "an earlier one"
    ledger.intend("power", path_of("GPU-0"), group="rig", before=json.dumps(kept))
    with control(None):
        assert library.settings() == FRESH
    assert (ledger.entries(), said) == ((), [])


@pytest.mark.parametrize("before", ["", "[]", '{"value": 1}', '{"value": 1, "owner": {"pid": 1}}'])
def test_an_entry_that_says_nothing_is_not_guessed_at(control: Control, ledger: Ledger, before: str) -> None:
    ledger.intend("power", path_of("GPU-0"), group="rig", before=before)
    with pytest.raises(RigError, match="does not say what was in force"), control(None):
        pytest.fail("as if nothing were")


def test_the_first_of_several_changes_knows_what_was_there_before(ledger: Ledger) -> None:
    ledger.intend("power", Path("gpu/GPU-0"), group="rig", before="700")
    ledger.intend("power", Path("gpu/GPU-0"), group="rig", before="250")
    [entry] = ledger.entries()
    assert entry.before == "700"


@pytest.mark.gpu
@pytest.mark.skipif(not Path("/dev/nvidia0").exists(), reason="no NVIDIA GPU")
def test_real_settings_are_in_force_inside_and_as_before_outside(ledger: Ledger) -> None:
    with session() as nvml:
        [device, *_] = nvml.devices()
        least, _ = nvml.uints("nvmlDeviceGetPowerManagementLimitConstraints", device)
        before = POWER.read(nvml, device)
        rig = Rig.model_validate({"gpus": 1, "lock_clocks": "max", "power_limit": f"{least / 1000:g}W"})
        try:
            with rig_controls(rig, EmbeddedLaunch(), ledger) as applied:
                assert POWER.read(nvml, device) == least
                assert [entry.kind for entry in ledger.entries()] == ["power", "clocks"]
                assert applied.facts["rig_clocks_gpu0"].endswith("MHz (before: not told by NVML)")
        except RigError as error:
            if "only root" not in error.message:
                raise
            pytest.skip(error.message)
        assert (POWER.read(nvml, device), ledger.entries()) == (before, ())
