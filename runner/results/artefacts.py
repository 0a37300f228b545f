"""The files of a run directory against the digests in its manifest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from runner.errors import RigError
from runner.results.directory import RunDirectory, digest_of
from runner.results.files import sha256_of
from runner.results.manifest import Manifest, artefacts_in
from runner.results.verification import Discrepancy
from runner.scenario.secrets import HIDDEN


def check_digests(directory: RunDirectory, manifest: Manifest) -> Iterator[Discrepancy]:
    """Every listed file is there and has its digest; the resolved scenario is the one that the run was made of."""
    if manifest.outcome != "running" and not manifest.artefacts:
        yield Discrepancy("manifest.json", "", "artefacts", "the files of the run", "none")
    for artefact in manifest.artefacts:
        path = directory.path / artefact.path
        if not path.is_file():
            yield Discrepancy(artefact.path, "", "file", f"{artefact.bytes} bytes", "no such file")
        elif (found := sha256_of(path)) != artefact.sha256:
            yield Discrepancy(artefact.path, "", "sha256", artefact.sha256, found)
    yield from _resolved(directory.resolved_path, manifest)


def check_journal(directory: RunDirectory, manifest: Manifest) -> None:
    """The journal is the one that the run ended with.

    Raises:
        RigError: it was changed since.
    """
    listed = {artefact.path: artefact.sha256 for artefact in manifest.artefacts}
    path = directory.journal_path
    if listed.get(path.name, "") not in ("", sha256_of(path)):
        raise RigError(
            f"{path} is not as the run left it, so its reports are not replaced",
            hint="`scenario verify` lists what differs; restore the journal from a copy",
        )


def _resolved(path: Path, manifest: Manifest) -> Iterator[Discrepancy]:
    """The digest is of the scenario with its secrets, so it can only be checked where there are none."""
    if not path.is_file():
        return
    text = path.read_text("utf-8", "surrogateescape")
    if HIDDEN not in text and digest_of(text) != manifest.scenario.digest:
        yield Discrepancy(path.name, "", "scenario.digest", manifest.scenario.digest, digest_of(text))


def unlisted(directory: RunDirectory, manifest: Manifest) -> list[str]:
    """Files that the manifest does not know."""
    known = {artefact.path for artefact in manifest.artefacts}
    found = artefacts_in(directory.path, ignore=("manifest.json",))
    return [artefact.path for artefact in found if artefact.path not in known]
