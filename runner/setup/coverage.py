"""What `--offline` would lack: downloads that are not in the cache, images that are not here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from runner.errors import RigError
from runner.runtimes.findings import Finding
from runner.scenario.case import launch_of
from runner.scenario.schema import DockerLaunch, ExportStep, Scenario, ScriptStep
from runner.setup.blobs import Missing
from runner.setup.prepare import downloads
from runner.setup.state import StateDirectory


def findings(scenario: Scenario, state: StateDirectory) -> Iterator[Finding]:
    """One line for each download and each image that setup or the server needs; nothing is fetched."""
    wanted, images = downloads(scenario, state), images_of(scenario)
    if not wanted and not images:
        yield Finding("offline", "ok", "nothing has to be downloaded")
    for name, missing in wanted.items():
        yield download(name, missing)
    yield from _images(images)


def download(name: str, missing: Missing | None) -> Finding:
    check = f"setup.{name}"
    if missing is None:
        return Finding(check, "ok", "is on this machine")
    place = f", or put the file at {missing.expected_at}" if missing.expected_at else ""
    return Finding(check, "warn", f"{missing.what} is not in the cache", f"scenario setup while online{place}")


def images_of(scenario: Scenario) -> tuple[str, ...]:
    """Images of the server and of setup steps, each once."""
    launch = launch_of(scenario)
    served = [launch.image] if isinstance(launch, DockerLaunch) else []
    steps = [step.image for step in scenario.setup.values() if isinstance(step, ExportStep | ScriptStep) and step.image]
    return tuple(dict.fromkeys([*served, *steps]))


def _images(names: Iterable[str]) -> Iterator[Finding]:
    from runner.runtimes.docker import images
    from runner.runtimes.docker.engine import connect

    for name in names:
        check = f"image {name}"
        try:
            found = images.find(connect(), name)
        except RigError as error:
            yield Finding(check, "warn", f"nobody can say whether it is here: {error.message}", error.hint)
            continue
        if found:
            yield Finding(check, "ok", "is on this machine")
        else:
            yield Finding(check, "warn", "is not here", f"docker pull {name} while online, or docker load --input FILE")
