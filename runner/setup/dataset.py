"""Step `dataset`: a folder of images, synthetic or the user's own."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

from runner.errors import SetupError
from runner.scenario.schema import FolderDataset, SyntheticJpegDataset
from runner.setup.base import Artifact, Parts, Product, Workbench
from runner.setup.digest import DigestCache, files_below, text_digest
from runner.setup.fingerprint import version_parts
from runner.setup.store import place_file

_SHOWN = 5


class SyntheticJpegs:
    """Seeded synthetic photographs."""

    kind = "dataset"

    def __init__(self, name: str, config: SyntheticJpegDataset) -> None:
        self.name, self._config = name, config

    def fingerprint(self, inputs: Mapping[str, Artifact]) -> Parts:
        config = self._config
        low, high = config.width
        parts = {"count": config.count, "seed": config.seed, "width": f"{low} to {high}", "quality": config.quality}
        generator = text_digest(Path(__file__).with_name("synthetic.py").read_text())
        fixed = {"kind": self.kind, "source": config.source, "generator": generator}
        return {**fixed, **{key: str(value) for key, value in parts.items()}, **version_parts(("pillow", "numpy"))}

    def run(self, bench: Workbench) -> Product:
        try:
            from runner.setup.synthetic import write_images
        except ImportError as error:
            raise _needs_pillow(self.name, error) from error
        config = self._config
        low, high = config.width
        call = f"write_images(Path('images'), {config.count}, {config.seed}, {(low, high)}, {config.quality})"
        program = f"from pathlib import Path; from runner.setup.synthetic import write_images; {call}"
        bench.reproduce.write_text(
            f'#!/bin/sh\nset -eu\nmkdir -p images\n{shlex.quote(sys.executable)} -c "{program}"\n'
        )
        folder = bench.directory / "images"
        folder.mkdir()
        write_images(
            folder, config.count, config.seed, (low, high), config.quality,
            lambda done: bench.say("drawing images", done=done, total=config.count),
        )  # fmt: skip
        bench.note(f"{config.count} images, {sum(path.stat().st_size for path in folder.iterdir())} bytes")
        return Product(folder, {"images": f"synthetic, seed {config.seed}"}, {"count": config.count})


class ImageFolder:
    """The user's images, every one decoded once so that a corrupt one is named before anything is measured."""

    kind = "dataset"

    def __init__(self, name: str, config: FolderDataset, digests: DigestCache) -> None:
        self.name, self._config, self._digests = name, config, digests

    def fingerprint(self, inputs: Mapping[str, Artifact]) -> Parts:
        names = self._names()
        content = self._digests.tree(Path(self._config.path), names)
        return {"kind": self.kind, "source": "folder", "files": str(len(names)), "content of the folder": content}

    def run(self, bench: Workbench) -> Product:
        source, target = Path(self._config.path), bench.directory / "images"
        names = self._names()
        copy = f"cp -r {shlex.quote(str(source))} images  # {len(names)} files like {self._config.pattern}"
        bench.reproduce.write_text(f"#!/bin/sh\n{copy}\n")
        self._check(source, names, bench)
        bench.note(f"{len(names)} images from {source}")
        for name in names:
            place_file(source / name, target / name)
        return Product(target, {"images": f"folder {source.name}"}, {"count": len(names)})

    def _names(self) -> list[str]:
        folder, pattern = Path(self._config.path), self._config.pattern
        if not folder.is_dir():
            raise SetupError(
                f"setup.{self.name}.path: {folder}: no such folder",
                hint="the path is relative to the scenario file; create the folder or correct the path",
            )
        found = [name for name in files_below(folder) if fnmatch(Path(name).name.lower(), pattern.lower())]
        if not found:
            nothing = f"setup.{self.name}: no file in {folder} matches {pattern}"
            raise SetupError(nothing, hint=f"correct setup.{self.name}.pattern")
        return found[: self._config.limit]

    def _check(self, source: Path, names: list[str], bench: Workbench) -> None:
        bad: list[str] = []
        for done, name in enumerate(names, start=1):
            if problem := self._problem(source / name):
                bad.append(f"{name}: {problem}")
                bench.note(bad[-1])
            bench.say("checking images", done=done, total=len(names))
        if bad:
            more = f"\n  and {len(bad) - _SHOWN} more, see {bench.log.name}" if len(bad) > _SHOWN else ""
            raise SetupError(
                f"setup.{self.name}: {len(bad)} of {len(names)} images in {source} cannot be decoded"
                + "".join(f"\n  {line}" for line in bad[:_SHOWN]) + more,
                hint=f"replace or move these files, or exclude them with setup.{self.name}.pattern",
            )  # fmt: skip

    def _problem(self, path: Path) -> str | None:
        """Why an image does not decode, or None."""
        try:
            from PIL import Image, UnidentifiedImageError
        except ImportError as error:
            raise _needs_pillow(self.name, error) from error
        if path.stat().st_size == 0:
            return "is empty"
        try:
            with Image.open(path) as image:
                image.load()
        except UnidentifiedImageError:
            return "is no image"
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            return str(error)
        return None


def _needs_pillow(name: str, error: ImportError) -> SetupError:
    return SetupError(f"setup.{name}: images need the package pillow: {error}", hint="pip install pillow")
