"""Makes a serving image without a registry or a download: this environment's own Python, Triton and model packages.

`python tests/docker/build_image.py [TAG]` prints the image's name and gives it that tag, too. The name holds a digest
of everything that goes in, so an image that is there already is used again. It is laid out as the vendor's:
`tritonserver` on PATH, /opt/tritonserver, `python3` for python models and setup scripts. It is one layer, streamed to
the engine: nothing is written twice.
"""

from __future__ import annotations

import hashlib
import importlib.metadata as metadata
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

REPOSITORY = "scenario-test-triton"
PACKAGES = ("nvidia-dali-cuda120", "nvidia-dali-cuda130", "onnx", "onnxruntime", "numpy", "pillow")
"""With everything that they need: what the built-in models and setup scripts import."""
TOOLS = ("sh", "bash", "cat", "ls", "sleep", "env", "id", "mkdir", "head", "true", "false")
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
PREFIX, TRITON = Path("/usr/local"), Path("/opt/tritonserver")
SITE = PREFIX / "lib" / PYTHON / "site-packages"
SETTINGS = (
    f"ENV PATH={TRITON}/bin:{PREFIX}/bin:/usr/bin:/bin",
    f"ENV LD_LIBRARY_PATH={TRITON}/lib",
    "ENV LANG=C.UTF-8",
    "WORKDIR /",
)
_UNUSED = ("test", "idlelib", "lib2to3", "ensurepip", "tkinter", "turtledemo", "site-packages", "dist-packages")
"""Folders of the standard library that no model imports."""
_KEPT = timedelta(days=1)
_LIBRARY = re.compile(r"(?:=>\s+|^\s*)(/\S+)", re.MULTILINE)

Pairs = dict[Path, Path]
"""Path in the image -> file of this machine."""


def main() -> None:
    """Make the image unless it is there, and print its name."""
    import docker

    client = docker.from_env()
    name = ensure_image(client)
    for tag in sys.argv[1:2]:
        client.images.get(name).tag(tag)
    print(name)


def ensure_image(client: Any) -> str:
    """The image's name; makes it when it is not there."""
    import docker

    tag = content_key()
    name = f"{REPOSITORY}:{tag}"
    try:
        client.images.get(name)
    except docker.errors.ImageNotFound:
        _import(client, tag)
        _name(client, tag)
        _remove_old(client, name)
    return name


def _name(client: Any, tag: str) -> None:
    """Podman 4 imports everything as `latest`, whatever tag it is told."""
    import docker

    with suppress(docker.errors.ImageNotFound):
        client.images.get(f"{REPOSITORY}:latest").tag(REPOSITORY, tag)
        client.images.remove(f"{REPOSITORY}:latest")


def _remove_old(client: Any, name: str) -> None:
    """Images of earlier contents, unless they are so young that another session may be using them."""
    import docker

    for image in client.images.list(REPOSITORY):
        made = datetime.fromisoformat(image.attrs["Created"][:19] + "+00:00")
        for tag in image.tags:
            if tag != name and datetime.now(UTC) - made > _KEPT:
                with suppress(docker.errors.APIError):
                    client.images.remove(tag)


def content_key() -> str:
    """Digest of what the image is made of: this recipe, the interpreter, the C library and every package's version."""
    packages = sorted(f"{dist.metadata['Name']} {dist.version}" for dist in _distributions())
    parts = (Path(__file__).read_text(), sys.version, *platform.libc_ver(), *packages)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _import(client: Any, tag: str) -> None:
    """Write the tar into one end of a pipe while the engine reads the other."""
    reading, writing = os.pipe()
    writer = threading.Thread(target=_write_tar, args=(os.fdopen(writing, "wb"), contents()))
    writer.start()
    with os.fdopen(reading, "rb") as stream:
        client.api.import_image_from_stream(stream, repository=REPOSITORY, tag=tag, changes=list(SETTINGS))
    writer.join()


def _write_tar(stream: BinaryIO, pairs: Pairs) -> None:
    with stream, tarfile.open(fileobj=stream, mode="w|", dereference=True, bufsize=1 << 20) as tar:
        for folder, mode in (("tmp", 0o1777), ("etc", 0o755), ("root", 0o755)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        for name, text in (("etc/passwd", "root:x:0:0::/root:/bin/sh\ntriton-server:x:1000:1000::/tmp:/bin/sh\n"),):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
        for link in ("python3", "python"):
            entry = tarfile.TarInfo(str(PREFIX / "bin" / link).lstrip("/"))
            entry.type, entry.linkname = tarfile.SYMTYPE, PYTHON
            tar.addfile(entry)
        for place, source in pairs.items():
            tar.add(source, str(place).lstrip("/"), recursive=False, filter=_as_root)


def _as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode |= 0o444
    return entry


def contents() -> Pairs:
    """Every file of the image."""
    pairs = {**_interpreter(), **_packages(), **_triton(), **_tools()}
    binaries = [source for source in pairs.values() if _is_elf(source)]
    return {**pairs, **_libraries(binaries, inside=set(pairs.values()))}


def _interpreter() -> Pairs:
    library = Path(sysconfig.get_path("stdlib"))
    pairs = {PREFIX / "bin" / PYTHON: Path(sys.executable).resolve()}
    for source in _files(library):
        inside = source.relative_to(library)
        if (
            inside.parts[0] not in _UNUSED
            and not inside.name.startswith("_tkinter")
            and "config-" not in inside.parts[0]
        ):
            pairs[PREFIX / "lib" / PYTHON / inside] = source
    return pairs


def _packages() -> Pairs:
    return {
        SITE / file: source
        for distribution in _distributions()
        for file in distribution.files or ()
        if ".." not in file.parts and not _is_cache(source := Path(str(distribution.locate_file(file))))
        if source.is_file()
    }


def _triton() -> Pairs:
    """The server of the `nvidia-pytriton` wheel at the vendor's places, with the stub of this Python."""
    wheel = metadata.distribution("nvidia-pytriton")
    root = Path(str(wheel.locate_file("pytriton/tritonserver")))
    stub = root / "python_backend_stubs" / PYTHON.removeprefix("python") / "triton_python_backend_stub"
    pairs = {TRITON / "backends" / "python" / stub.name: stub}
    for folder in ("bin", "backends", "caches"):
        pairs |= {TRITON / source.relative_to(root): source for source in _files(root / folder)}
    libraries = Path(str(wheel.locate_file("nvidia_pytriton.libs")))
    return pairs | {TRITON / "lib" / source.name: source for source in _files(libraries)}


def _tools() -> Pairs:
    found = {Path("/bin") / name: shutil.which(name) for name in TOOLS}
    return {place: Path(path).resolve() for place, path in found.items() if path}


def _libraries(binaries: Iterable[Path], inside: set[Path]) -> Pairs:
    """Shared libraries that the binaries find outside what goes in already, with the loader, at their own places.

    libpython goes beside the C library: the loader looks there without being told.
    """
    # Wheels bring their libraries along, apart from those that the interpreter and the server need as well.
    chosen = [path for path in binaries if "site-packages" not in path.parts or path.name.startswith("triton")]
    answer = subprocess.run(["ldd", *chosen], capture_output=True, text=True, check=False).stdout
    found = {Path(path) for path in _LIBRARY.findall(answer) if not path.endswith(":")}
    system = next(path.parent for path in found if path.name == "libc.so.6")
    own = {source.resolve() for source in inside}
    pairs = {path: path.resolve() for path in found if path.resolve() not in own}
    python = Path(sysconfig.get_config_var("LIBDIR")) / str(sysconfig.get_config_var("INSTSONAME"))
    moved = {path for path in pairs if path.name.startswith("libpython")}
    kept = {path: source for path, source in pairs.items() if path not in moved}
    return kept | ({system / python.name: python} if python.is_file() else {})


def _distributions() -> tuple[metadata.Distribution, ...]:
    """The wanted packages that are installed, and what they need, without extras."""
    found: dict[str, metadata.Distribution] = {}
    waiting = list(PACKAGES)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        needs = [need for need in found[name].requires or () if "extra ==" not in need]
        waiting += [match[0] for need in needs if (match := re.match(r"[A-Za-z0-9._-]+", need))]
    return tuple(found.values())


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not _is_cache(path))


def _is_cache(path: Path) -> bool:
    return "__pycache__" in path.parts


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


if __name__ == "__main__":
    main()
