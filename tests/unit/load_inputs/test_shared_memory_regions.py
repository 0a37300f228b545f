"""Regions and the messages that refer to them, without a server."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.errors import LoadError, RigError, ServiceError
from runner.load import cuda
from runner.load import shared_memory as shm
from runner.load.cuda import CudaDevice, CudaRegion
from runner.load.items import Items
from runner.load.regions import SharedTensor, SystemRegion, is_abandoned, new_names, sweep_regions
from runner.processes import ProcessIdentity
from runner.services.base import ModelMetadata, TensorSpec

FIXED = TensorSpec("OUT", "FP16", (3,))
OPEN = TensorSpec("TEXT", "BYTES", (1,))


def model(*outputs: TensorSpec, max_batch_size: int = 8) -> ModelMetadata:
    return ModelMetadata("m", "1", "python", max_batch_size, (TensorSpec("X", "FP32", (4,)),), outputs)


def items(count: int = 3) -> list[Items]:
    arrays = tuple(np.full(4, number, np.float32) for number in range(count))
    return [Items("X", "FP32", arrays, "test", count)]


class FakeService:
    """Keeps what it is told."""

    def __init__(self, *, known: Sequence[str] = (), refuse: str = "", gone: bool = False, busy: int = 0) -> None:
        self.known, self.refuse, self.gone, self.busy = list(known), refuse, gone, busy
        self.asked: list[str] = []

    def encode(self, model: str, inputs: Mapping[str, np.ndarray]) -> bytes:
        return b"plain" + b"".join(array.tobytes() for array in inputs.values())

    def tensor_bytes(self, model: str, name: str, array: np.ndarray) -> bytes:
        return array.tobytes()

    def encode_shared(
        self, model: str, inputs: Mapping[str, SharedTensor], outputs: Mapping[str, SharedTensor]
    ) -> bytes:
        return repr((sorted(inputs.items()), sorted(outputs.items()))).encode()

    def register_region(self, region: Any) -> None:
        if self.refuse and region.name.endswith(self.refuse):
            raise ServiceError("refused")
        self.known.append(region.name)

    def unregister_region(self, kind: str, name: str) -> bool:
        self.asked.append(name)
        if self.gone:
            raise ServiceError("gone")
        if self.asked.count(name) <= self.busy:
            return False
        if name in self.known:
            self.known.remove(name)
        return True

    def registered_regions(self, kind: str) -> list[str]:
        return list(self.known)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for /dev/shm."""
    monkeypatch.setattr(shm, "SystemRegion", lambda name, size: SystemRegion(name, size, tmp_path))
    return tmp_path


def dead_name() -> str:
    parts = new_names("dead").split(".")
    parts[3] = str(int(parts[3]) + 1)
    return ".".join([*parts, "in"])


# --- regions ------------------------------------------------------------------------------------------------------


def test_a_system_region_is_a_file_that_goes_away(tmp_path: Path) -> None:
    region = SystemRegion("r", 100, tmp_path)
    region.write(10, b"abc")
    assert region.read(9, 5) == b"\0abc\0"
    assert (tmp_path / "r").stat().st_mode & 0o777 == 0o600
    assert region.key == "/r"
    with pytest.raises(FileExistsError):
        SystemRegion("r", 1, tmp_path)
    region.close()
    region.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "is full: 64 more bytes are needed"), (errno.EPERM, "cannot make 64 bytes")]
)
def test_no_room_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(LoadError, match=message):
        SystemRegion("r", 64, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_names_say_whose_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{new_names('run 2026/../x')}.out7"
    assert name.startswith("scenario_shm.")
    assert "/" not in name
    assert new_names("a") != new_names("a")
    assert not is_abandoned(name)
    assert is_abandoned(dead_name())
    for other in ("somebody_else", "scenario_shm.1.2.3", dead_name().replace(".in", "")):
        assert not is_abandoned(other)
    # The same numbers in another container mean another process.
    me = ProcessIdentity.current()
    elsewhere = ProcessIdentity(me.boot_id, "pid:[1]", me.pid, me.started)
    monkeypatch.setattr(ProcessIdentity, "current", staticmethod(lambda: elsewhere))
    foreign = dead_name()
    monkeypatch.undo()
    assert not is_abandoned(foreign)


def test_sweeping_removes_only_what_dead_runs_left(tmp_path: Path) -> None:
    mine, dead = f"{new_names('x')}.in", dead_name()
    for name in (mine, dead, "somebody_else"):
        (tmp_path / name).touch()
    assert sweep_regions(tmp_path) == [f"shared memory {dead}"]
    assert {path.name for path in tmp_path.iterdir()} == {mine, "somebody_else"}


# --- messages -----------------------------------------------------------------------------------------------------


def test_each_slot_has_messages_for_every_request_and_an_output_of_its_own(folder: Path) -> None:
    service = FakeService(known=["foreign"])
    with shm.shared_payloads(
        service, model(FIXED, OPEN), items(), 2, kind="system", slots=4, run_id="r", output_bytes=100
    ) as shared:
        payloads = shared.payloads
        assert (len(payloads.messages), payloads.drawing.order, payloads.drawing.slots) == (12, "per_slot", 4)
        assert len(service.known) == len(list(folder.iterdir())) + 1 == 6
        assert [each["OUT"].nbytes for each in shared.outputs] == [12] * 4
        assert [each["TEXT"].nbytes for each in shared.outputs] == [200] * 4
        assert len({each["OUT"].region for each in shared.outputs}) == 4
        assert shared.outputs[0]["TEXT"].offset == 64
        shared.regions[shared.outputs[2]["OUT"].region].write(0, b"answer")
        assert shared.output(2, "OUT").startswith(b"answer\0")
        source = next(region for name, region in shared.regions.items() if name.endswith(".in"))
        assert np.frombuffer(source.read(64, 32), np.float32).tolist() == [2.0] * 4 + [0.0] * 4
        assert ".out3'" in payloads.messages[9].decode()
        assert "4 times 320 bytes out" in payloads.facts()["payload_shared_memory"]
    assert service.known == ["foreign"]
    assert list(folder.iterdir()) == []


def test_regions_of_dead_runs_are_forgotten_and_others_are_not(folder: Path) -> None:
    dead, living = dead_name(), f"{new_names('x')}.in"
    service = FakeService(known=["foreign", dead, living])
    with shm.shared_payloads(service, model(), items(), 1, kind="system", slots=1, run_id="r"):
        pass
    assert service.known == ["foreign", living]


def test_a_refused_region_leaves_nothing(folder: Path) -> None:
    service = FakeService(refuse="out1")
    with (
        pytest.raises(ServiceError, match="refused"),
        shm.shared_payloads(service, model(FIXED), items(), 1, kind="system", slots=3, run_id="r"),
    ):
        pass
    assert service.known == []
    assert list(folder.iterdir()) == []


def test_a_server_that_is_gone_is_not_asked_for_ever(folder: Path) -> None:
    service = FakeService(gone=True)
    with shm.shared_payloads(service, model(FIXED), items(), 1, kind="system", slots=50, run_id="r"):
        assert len(list(folder.iterdir())) == 51
    assert len(service.asked) == 3
    assert list(folder.iterdir()) == []


def test_regions_that_requests_still_use_are_forgotten_a_moment_later(folder: Path) -> None:
    service = FakeService(busy=2)
    with shm.shared_payloads(service, model(FIXED), items(), 1, kind="system", slots=9, run_id="r"):
        assert len(service.known) == 10
    assert (service.known, len(service.asked)) == ([], 30)


def test_a_region_that_stays_in_use_is_left_to_the_next_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shm, "_LET_GO_S", 0.0)
    dead = dead_name()
    service = FakeService(known=[dead], busy=1_000_000)
    with shm.shared_payloads(service, model(), items(), 1, kind="system", slots=1, run_id="r"):
        pass
    assert dead in service.known
    assert list(folder.iterdir()) == []


def test_an_output_of_unknown_size_says_what_to_write(folder: Path) -> None:
    with (
        pytest.raises(ServiceError, match=r"output TEXT \(BYTES \[1\]\) is not known") as caught,
        shm.shared_payloads(FakeService(), model(OPEN), items(), 1, kind="system", slots=1, run_id="r"),
    ):
        pass
    assert "output_bytes: 64KiB" in (caught.value.hint or "")


def test_limits_cut_and_say_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with shm.shared_payloads(
        FakeService(), model(), items(5), 1, kind="system", slots=1, run_id="r", max_bytes=150
    ) as shared:
        assert len(shared.payloads.messages) == 2
        assert str(shared.payloads.cut).startswith("2 of 5 requests")
    monkeypatch.setattr(shm, "MAX_MESSAGES", 6)
    with shm.shared_payloads(FakeService(), model(), items(5), 1, kind="system", slots=2, run_id="r") as shared:
        assert len(shared.payloads.messages) == 6


def test_a_service_that_shares_nothing_is_refused() -> None:
    with (
        pytest.raises(ServiceError, match="cannot be shared with this service"),
        shm.shared_payloads(object(), model(), items(), 1, kind="system", slots=1, run_id="r"),
    ):
        pass


# --- CUDA ---------------------------------------------------------------------------------------------------------


class FakeCuda:
    """libcuda with one GPU whose memory is a dictionary."""

    def __init__(self, *, gpus: int = 2, fails: Mapping[str, int] | None = None) -> None:
        self.gpus, self.fails = gpus, dict(fails or {})
        self.memory: dict[int, bytearray] = {}
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name in self.fails:
                return self.fails[name]
            handler = self.__class__.__dict__.get(f"_{name}")
            return int(handler(self, *arguments) or 0) if handler else 0

        return call

    def cuGetErrorString(self, status: int, text: Any) -> int:  # noqa: N802
        text._obj.value = b"out of memory" if status == 2 else None
        return 0

    def _cuDeviceGetCount(self, count: Any) -> None:  # noqa: N802
        count._obj.value = self.gpus

    def _cuMemAlloc_v2(self, address: Any, size: Any) -> None:  # noqa: N802
        address._obj.value = 0x1000 * (len(self.memory) + 1)
        self.memory[address._obj.value] = bytearray(size.value)

    def _cuMemFree_v2(self, address: Any) -> None:  # noqa: N802
        del self.memory[address.value]

    def _cuIpcGetMemHandle(self, handle: Any, address: Any) -> None:  # noqa: N802
        ctypes.memmove(handle, address.value.to_bytes(8, "little"), 8)

    def _cuMemcpyHtoD_v2(self, address: Any, data: Any, size: Any) -> None:  # noqa: N802
        base = address.value // 0x1000 * 0x1000
        at = address.value - base
        self.memory[base][at : at + size.value] = ctypes.string_at(data, size.value)

    def _cuMemcpyDtoH_v2(self, buffer: Any, address: Any, size: Any) -> None:  # noqa: N802
        base = address.value // 0x1000 * 0x1000
        at = address.value - base
        ctypes.memmove(buffer, bytes(self.memory[base][at : at + size.value]), size.value)


def test_gpu_memory_is_written_read_and_freed() -> None:
    library = FakeCuda()
    device = CudaDevice(1, library)
    region = CudaRegion("r", 16, device)
    assert (region.device, len(region.handle), region.handle[:2]) == (1, 64, b"\x00\x10")
    region.write(4, b"a\0c")
    assert region.read(3, 5) == b"\0a\0c\0"
    region.close()
    region.close()
    assert library.memory == {}
    with pytest.raises(ValueError, match="region r is closed"):
        region.read(0, 1)
    device.close()
    assert library.calls[-1] == "cuDevicePrimaryCtxRelease_v2"


@pytest.mark.parametrize(
    ("fails", "error", "message"),
    [
        ({"cuInit": 100}, RigError, "CUDA refused cuInit: error 100"),
        ({"cuMemAlloc_v2": 2}, LoadError, "CUDA refused cuMemAlloc_v2: out of memory"),
        ({"cuIpcGetMemHandle": 801}, LoadError, "CUDA refused cuIpcGetMemHandle: error 801"),
    ],
)
def test_what_cuda_refuses_is_said(fails: dict[str, int], error: type[Exception], message: str) -> None:
    library = FakeCuda(fails=fails)
    with pytest.raises(error, match=message):
        CudaRegion("r", 16, CudaDevice(0, library))
    assert library.memory == {}


def test_a_gpu_that_is_not_there_is_named() -> None:
    with pytest.raises(RigError, match="there is no GPU 2, CUDA sees 2"):
        CudaDevice(2, FakeCuda())


def test_without_a_driver_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_LIBRARY", "libno_such_cuda.so.1")
    with (
        pytest.raises(RigError, match="needs an NVIDIA driver") as caught,
        shm.shared_payloads(FakeService(), model(FIXED), items(), 1, kind="cuda", slots=1, run_id="r"),
    ):
        pass
    assert "shared_memory: system" in (caught.value.hint or "")


def test_the_same_messages_refer_to_gpu_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeCuda()
    monkeypatch.setattr(cuda, "_load", lambda: library)
    service = FakeService()
    with shm.shared_payloads(service, model(FIXED), items(), 1, kind="cuda", slots=2, run_id="r", device=1) as shared:
        assert len(library.memory) == len(service.known) == 3
        source = next(region for name, region in shared.regions.items() if name.endswith(".in"))
        assert np.frombuffer(source.read(64, 16), np.float32).tolist() == [1.0] * 4
    assert (library.memory, service.known) == ({}, [])


@pytest.mark.gpu
@pytest.mark.skipif(not Path("/dev/nvidia0").exists(), reason="no NVIDIA GPU")
def test_real_gpu_memory_keeps_what_is_written() -> None:
    region = CudaRegion("r", 4096, CudaDevice(0))
    region.write(100, b"precious")
    assert region.read(100, 8) == b"precious"
    assert any(region.handle)
    region.close()
