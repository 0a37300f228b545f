"""Fetch the real perf_analyzer from the wheels that carry it, into a folder.

    python benchmarks/fetch_tools.py FOLDER

The client wheel of Triton 24.09 contains the binary; it needs libb64.so.0d (Debian: libb64-0d) and libcudart.so.12,
which a wheel of the CUDA runtime has. h2load comes with Debian's nghttp2-client.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

WHEELS = ("tritonclient==2.50.0", "nvidia-cuda-runtime-cu12")


def main() -> None:
    """Download, unpack, and print how to use it."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1]).resolve()
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), *WHEELS]
    subprocess.run(command, check=True)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    (binary,) = folder.glob("tritonclient-*.data/data/bin/perf_analyzer")
    binary.chmod(0o755)
    print(f"--perf-analyzer {binary} --libraries {folder / 'nvidia/cuda_runtime/lib'}")


if __name__ == "__main__":
    main()
