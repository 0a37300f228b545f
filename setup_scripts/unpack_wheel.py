#!/usr/bin/env python3
"""Unpack a Python wheel into a folder, for models whose server's image lacks the package; nothing is downloaded.

A wheel with compiled parts fits one version of Python only: run this where the model will run, and it refuses others.
"""

from __future__ import annotations

import argparse
import platform
import sys
import zipfile
from pathlib import Path, PurePosixPath


class WheelError(Exception):
    """A reason, in one line, why a wheel cannot be used."""


def check_fits(name: str) -> None:
    """Refuse a wheel whose name says that it is for another Python or another machine."""
    parts = name.removesuffix(".whl").split("-")
    if not name.endswith(".whl") or len(parts) not in (5, 6):
        raise WheelError(f"{name} is not called as a wheel is (NAME-VERSION-PYTHON-ABI-PLATFORM.whl)")
    ours = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    pythons, abis, platforms = (part.split(".") for part in parts[-3:])
    if not {ours, "py3"} & set(pythons) and "abi3" not in abis:
        raise WheelError(f"{name} is for {parts[-3]}, this Python is {ours}: fetch its wheel for {ours}")
    machine = platform.machine()
    if not any(each == "any" or each.endswith(machine) for each in platforms):
        raise WheelError(f"{name} is for {parts[-1]}, this machine is {machine}")


def check_stays_inside(archive: zipfile.ZipFile, name: str) -> None:
    """Refuse a wheel with a file that belongs outside of its folder; unpacked, it would be somewhere else in it."""
    for member in archive.namelist():
        if member.startswith("/") or ".." in PurePosixPath(member).parts:
            raise WheelError(f"{name} holds the file {member}, which is outside of it: do not trust this wheel")


def unpack(wheel: Path, output: Path) -> int:
    """Write the files; returns how many."""
    check_fits(wheel.name)
    try:
        with zipfile.ZipFile(wheel) as archive:
            check_stays_inside(archive, wheel.name)
            output.mkdir()
            archive.extractall(output)
            return len(archive.namelist())
    except zipfile.BadZipFile as error:
        raise WheelError(f"{wheel.name} cannot be read: {error}") from None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder to make")
    parser.add_argument("--wheel", type=Path, required=True, help="the wheel, called as it was published")
    options = parser.parse_args(argv)
    try:
        count = unpack(options.wheel, options.output)
    except WheelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{options.wheel.name}: {count} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
