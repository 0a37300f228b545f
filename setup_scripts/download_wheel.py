#!/usr/bin/env python3
"""Download one wheel by its digest, for another Python than this one; from wherever pip is set up to look.

A mirror, a proxy or a folder is what pip's own configuration says (`PIP_INDEX_URL`, `PIP_FIND_LINKS`, …).

    download_wheel.py --output pillow.whl --package pillow==12.0.0 --sha256 b878… --python 3.12 \\
        --platform manylinux_2_28_x86_64
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path


class DownloadError(Exception):
    """A reason, in one line, why there is no wheel."""


def pip_arguments(options: argparse.Namespace, requirements: Path, folder: Path) -> list[str]:
    """`pip download` of one pinned wheel, and nothing that it depends on."""
    return [
        *("download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"),
        *("--require-hashes", "--requirement", str(requirements), "--dest", str(folder)),
        *("--python-version", options.python, "--platform", options.platform),
    ]


def download(options: argparse.Namespace) -> str:
    """Write the wheel; returns the name under which it was published."""
    with tempfile.TemporaryDirectory(dir=options.output.parent) as scratch:
        requirements, folder = Path(scratch) / "requirements.txt", Path(scratch) / "wheels"
        requirements.write_text(f"{options.package} --hash=sha256:{options.sha256}\n")
        status = subprocess.run([sys.executable, "-m", "pip", *pip_arguments(options, requirements, folder)]).returncode
        if status:
            raise DownloadError(f"pip cannot download {options.package} for Python {options.python}: see above")
        (wheel,) = folder.iterdir()
        wheel.rename(options.output)
        return wheel.name


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    parser.add_argument("--package", required=True, metavar="NAME==VERSION", help="what to download")
    parser.add_argument("--sha256", required=True, help="of the wheel; any other file is refused")
    parser.add_argument("--python", required=True, metavar="X.Y", help="Python that will import it")
    parser.add_argument("--platform", required=True, help="platform of the wheel, for example manylinux_2_28_x86_64")
    options = parser.parse_args(argv)
    try:
        name = download(options)
    except DownloadError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
