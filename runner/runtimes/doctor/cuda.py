"""The NVIDIA driver against what an image asks for.

Two things decide. The NVIDIA Container Toolkit refuses to start a container whose `NVIDIA_REQUIRE_CUDA` does not hold.
And a driver runs programs of newer CUDA versions only within its major version ("minor-version compatibility", without
kernels that are compiled when they are loaded), or through the image's forward-compatibility package, on data-centre
GPUs alone.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runner.runtimes.doctor.gpu_facts import DriverFacts
from runner.runtimes.findings import Finding

Version = tuple[int, ...]
_COMPARE: dict[str, Callable[[Version, Version], bool]] = {
    ">=": operator.ge, "<=": operator.le, "!=": operator.ne, "=": operator.eq, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_CONDITION = re.compile(r"(cuda|driver|brand|arch)(>=|<=|!=|=|>|<)([\w.]+)")
_CHECK = "driver for the image"


@dataclass(frozen=True)
class ImageCuda:
    """What an image says of the CUDA in it."""

    version: Version | None = None
    """Of the CUDA libraries."""
    requires: str = ""
    """`NVIDIA_REQUIRE_CUDA`: alternatives apart by spaces, the conditions of each by commas."""
    compatibility: bool = False
    """Whether it brings the forward-compatibility package."""


def image_cuda(env: Mapping[str, str], labels: Mapping[str, str]) -> ImageCuda:
    """From the variables and labels that the vendor's images carry."""
    text = env.get("CUDA_VERSION") or labels.get("com.nvidia.cuda.version") or ""
    disabled = env.get("NVIDIA_DISABLE_REQUIRE", "").lower() in ("1", "true")
    requires = "" if disabled else env.get("NVIDIA_REQUIRE_CUDA", "")
    return ImageCuda(version_of(text), requires, any(name.startswith("_CUDA_COMPAT") for name in env))


def driver_for_image(driver: DriverFacts, image: ImageCuda) -> Finding:
    """Whether this driver can be expected to run the image."""
    if image.requires and not meets(image.requires, driver):
        return Finding(
            _CHECK,
            "fail",
            f"the image requires {_short(image.requires)}; driver {driver.version} supports CUDA {_text(driver.cuda)}, "
            "so the container would be refused",
            "install a newer NVIDIA driver, or choose an older image in `launch.image`",
        )
    if image.version is None:
        return Finding(_CHECK, "ok", "the image names no CUDA version")
    return _compatible(driver, image.version[:2], image.compatibility)


def _compatible(driver: DriverFacts, wanted: Version, package: bool) -> Finding:
    detail = f"the image has CUDA {_text(wanted)}, driver {driver.version} supports CUDA {_text(driver.cuda)}"
    newer = f"install a driver for CUDA {_text(wanted)} or newer, or choose an older image in `launch.image`"
    if driver.cuda >= wanted:
        return Finding(_CHECK, "ok", detail)
    if driver.cuda[0] == wanted[0]:
        reason = "minor-version compatibility: it works, except for kernels compiled when loaded (PTX) and newer calls"
        return Finding(_CHECK, "warn", f"{detail}; {reason}", newer)
    if package:
        reason = "only the image's forward-compatibility package can run it, on data-centre GPUs alone"
        return Finding(_CHECK, "warn", f"{detail}; {reason}", newer)
    return Finding(_CHECK, "fail", f"{detail}, and the image brings no forward-compatibility package", newer)


def meets(requires: str, driver: DriverFacts) -> bool:
    """Whether any alternative holds; conditions on brand and architecture count as met, nobody here knows them."""
    known: dict[str, Version] = {"cuda": driver.cuda, "driver": version_of(driver.version) or ()}

    def holds(condition: str) -> bool:
        match = _CONDITION.fullmatch(condition)
        if match is None or match[1] not in known:
            return True
        wanted = version_of(match[3]) or ()
        return _COMPARE[match[2]](known[match[1]][: len(wanted)], wanted)

    return any(all(map(holds, alternative.split(","))) for alternative in requires.split())


def version_of(text: str) -> Version | None:
    """`12.9.0` -> (12, 9, 0); None where it does not start with a number."""
    match = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, match[0].split("."))) if match else None


def _text(version: Version) -> str:
    return ".".join(map(str, version))


def _short(requires: str) -> str:
    first, _, rest = requires.partition(" ")
    return f"{first} (or others)" if rest else first
