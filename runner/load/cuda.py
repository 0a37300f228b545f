"""GPU memory that a server on the same machine can open: the CUDA driver through ctypes, no toolkit needed."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from runner.errors import LoadError, RigError
from runner.load.regions import Kind

_LIBRARY = "libcuda.so.1"
_HANDLE_BYTES = 64
_OUT_OF_MEMORY = 2


class _IpcHandle(ctypes.Structure):
    """CUipcMemHandle: bytes that mean something only to the driver, passed by value."""

    _fields_ = (("reserved", ctypes.c_char * _HANDLE_BYTES),)


class CudaDevice:
    """One GPU, by CUDA's number; its primary context is held until `close`."""

    def __init__(self, number: int, library: Any = None) -> None:
        self._cuda = library if library is not None else _load()
        self.number = number
        self._check("cuInit", 0)
        count = ctypes.c_int()
        self._check("cuDeviceGetCount", ctypes.byref(count))
        if number >= count.value:
            raise RigError(
                f"workload.shared_memory_device: there is no GPU {number}, CUDA sees {count.value}",
                hint="GPUs count from 0; CUDA_VISIBLE_DEVICES may hide some",
            )
        self._device = ctypes.c_int()
        self._check("cuDeviceGet", ctypes.byref(self._device), number)
        self._context = ctypes.c_void_p()
        self._check("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)

    def allocate(self, size: int) -> int:
        """Address of new GPU memory."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address.value

    def free(self, address: int) -> None:
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def handle(self, address: int) -> bytes:
        """What another process opens the memory with."""
        handle = _IpcHandle()
        self._call("cuIpcGetMemHandle", ctypes.byref(handle), ctypes.c_uint64(address))
        return bytes(handle)

    def write(self, address: int, data: bytes) -> None:
        self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), ctypes.c_char_p(data), ctypes.c_size_t(len(data)))

    def read(self, address: int, size: int) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        self._call("cuMemcpyDtoH_v2", buffer, ctypes.c_uint64(address), ctypes.c_size_t(size))
        return buffer.raw

    def close(self) -> None:
        """Let go of the context."""
        self._check("cuDevicePrimaryCtxRelease_v2", self._device)

    def _call(self, function: str, *arguments: Any) -> None:
        self._check("cuCtxSetCurrent", self._context)
        self._check(function, *arguments)

    def _check(self, function: str, *arguments: Any) -> None:
        status = getattr(self._cuda, function)(*arguments)
        if status == 0:
            return
        words = f"CUDA refused {function}: {self._error(status)}"
        if status == _OUT_OF_MEMORY:
            raise LoadError(words, hint="lower the concurrency, the batch or workload.output_bytes")
        if function in ("cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDevicePrimaryCtxRetain"):
            raise RigError(words, hint="`nvidia-smi` must work here; without a GPU use `shared_memory: system`")
        raise LoadError(words)

    def _error(self, status: int) -> str:
        text = ctypes.c_char_p()
        self._cuda.cuGetErrorString(status, ctypes.byref(text))
        return text.value.decode() if text.value else f"error {status}"


class CudaRegion:
    """A `Region` in GPU memory."""

    kind: Kind = "cuda"
    file: Path | None = None

    def __init__(self, name: str, size: int, device: CudaDevice) -> None:
        self.name, self.size, self.device = name, size, device.number
        self._device = device
        self._address: int | None = device.allocate(size)
        try:
            self.handle = device.handle(self._address)
        except BaseException:
            self.close()
            raise

    def write(self, offset: int, data: bytes) -> None:
        self._device.write(self._open_address() + offset, data)

    def read(self, offset: int, size: int) -> bytes:
        return self._device.read(self._open_address() + offset, size)

    def close(self) -> None:
        if self._address is not None:
            address, self._address = self._address, None
            self._device.free(address)

    def _open_address(self) -> int:
        if self._address is None:
            raise ValueError(f"region {self.name} is closed")
        return self._address


def _load() -> Any:
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise RigError(
            f"CUDA shared memory needs an NVIDIA driver, which this machine does not have: {error}",
            hint="use `shared_memory: system`, or run where `nvidia-smi` works",
        ) from error
