"""The CUDA driver through ctypes: which GPU is there, and memory on it."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tensorrt_tools.spec import ToolError

_MULTIPROCESSORS, _MAJOR, _MINOR = 16, 75, 76
"""CUdevice_attribute."""
_MIG = re.compile(r"\bMIG (\S+)")
_DRIVER = re.compile(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s")
NO_GPU = (
    "no GPU in the container: {reason}\nset `launch.gpus` of the target, and install the NVIDIA Container Toolkit "
    "on this machine"
)


class Cuda:
    """The first visible device, with a context where memory is wanted."""

    def __init__(self, load: Callable[[str], Any] = ctypes.CDLL) -> None:
        try:
            self._library = load("libcuda.so.1")
        except OSError:
            raise ToolError(NO_GPU.format(reason="the driver's library libcuda.so.1 is not there")) from None
        status = self._library.cuInit(0)
        if status:
            raise ToolError(NO_GPU.format(reason=f"cuInit failed with CUDA error {status}"))
        self._device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(self._device), 0)

    def facts(self) -> dict[str, Any]:
        """Name, compute capability, multiprocessors, MIG profile, driver."""
        text = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", text, len(text), self._device)
        name = text.value.decode(errors="replace")
        mig = _MIG.search(name)
        return {
            "name": name,
            "compute_capability": f"{self._attribute(_MAJOR)}.{self._attribute(_MINOR)}",
            "multiprocessors": self._attribute(_MULTIPROCESSORS),
            "mig_profile": mig[1] if mig else None,
            "driver": driver_version(),
        }

    def open(self) -> None:
        """Make the device's primary context current."""
        context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._call("cuCtxSetCurrent", context)

    def allocate(self, size: int) -> int:
        pointer = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(max(size, 1)))
        return pointer.value

    def free(self, pointer: int) -> None:
        self._call("cuMemFree_v2", ctypes.c_uint64(pointer))

    def upload(self, pointer: int, content: bytes) -> None:
        self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(pointer), content, ctypes.c_size_t(len(content)))

    def download(self, pointer: int, size: int) -> bytes:
        content = ctypes.create_string_buffer(size)
        self._call("cuMemcpyDtoH_v2", content, ctypes.c_uint64(pointer), ctypes.c_size_t(size))
        return content.raw

    def wait(self) -> None:
        """Until everything on the device is done."""
        self._call("cuCtxSynchronize")

    def _attribute(self, which: int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), which, self._device)
        return value.value

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            memory = " (out of memory)" if status == 2 else ""
            raise ToolError(f"{name} failed with CUDA error {status}{memory}")


def driver_version() -> str | None:
    """Of the kernel module, else what the driver's tool says; None where neither is there."""
    try:
        match = _DRIVER.search(Path("/proc/driver/nvidia/version").read_text())
        if match:
            return match[1]
    except OSError:
        pass
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.split("\n")[0].strip() or None
