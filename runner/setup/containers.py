"""Scripts of setup steps in containers: of the serving image, or of the step's own; and the images themselves."""

from __future__ import annotations

import os
import re
import shlex
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import RigError, SetupError
from runner.results.secrets import redact
from runner.scenario.schema import DockerLaunch, Gpus, Launch, TensorrtStep
from runner.scenario.schema import Step as StepConfig
from runner.scenario.schema_steps import ContainedStep
from runner.scenario.secrets import looks_secret
from runner.setup.base import Action, OnProgress, Parts, Progress, Workbench
from runner.setup.digest import text_digest
from runner.setup.fingerprint import flatten
from runner.setup.ledger import Entry, Ledger
from runner.setup.places import Call, Place, ThisMachine
from runner.setup.process import TAIL_LINES, command_for, failure, left_out
from runner.setup.reset import Removal

if TYPE_CHECKING:
    from runner.runtimes.docker.containers import Ended
    from runner.runtimes.docker.engine import EngineFacts
    from runner.runtimes.docker.images import Image
    from runner.runtimes.docker.plan import ContainerPlan

SCRIPTS = "/scenario/scripts"
"""Where a container sees the folder of its script, read-only."""
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_ENVIRONMENT = {"LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
_ONE_STREAM = ("/bin/sh", "-c", 'exec "$@" 2>&1', "script")
"""Engines read the two outputs of a container one beside the other: of a failure the last words would come first."""
_FOLDER, _USER = "$FOLDER", "$USER_AND_GROUP"
"""In a plan that becomes a shell script: the folder of the user's choice, and who runs it."""


class Containers:
    """The engine as setup uses it; asked only when a step or the server needs it."""

    def __init__(self, ledger: Ledger, on_progress: OnProgress | None = None, *, offline: bool = False) -> None:
        self._ledger, self._on_progress, self.offline = ledger, on_progress, offline
        self.may_pull = False
        """Only looking, until a preparation says otherwise."""

    @cached_property
    def client(self) -> Any:
        """Connected, and rid of what dead runs left: a step of theirs may still be writing where ours will."""
        from runner.runtimes.docker import labels
        from runner.runtimes.docker.engine import connect

        client = connect()
        if self.may_pull:
            labels.sweep(client)
        return client

    @cached_property
    def engine(self) -> EngineFacts:
        from runner.runtimes.docker.engine import facts_of

        return facts_of(self.client)

    def place_for(self, config: StepConfig, launch: Launch) -> Place:
        """Where a step's script runs: where the server does, unless the step names an image or this machine."""
        if not isinstance(config, ContainedStep) or config.place == "host":
            return ThisMachine()
        if isinstance(launch, DockerLaunch):
            return InContainer(self, launch, config.image or launch.image, config.network)
        if config.image is not None:
            gpus: Gpus = "all" if isinstance(config, TensorrtStep) else "none"
            own = DockerLaunch(kind="docker", image=config.image, gpus=gpus)
            return InContainer(self, own, config.image, config.network)
        return ThisMachine()

    def serving_place(self, config: StepConfig, launch: Launch, place: Place) -> Place:
        """Where the server runs: the step's own place, unless it stays here or names an image that does not serve."""
        if not isinstance(launch, DockerLaunch) or not isinstance(config, ContainedStep):
            return place
        if config.place == "target" and config.image in (None, launch.image):
            return place
        return InContainer(self, launch, launch.image)

    def bring(self, name: str) -> tuple[Action, str]:
        """Have an image, pulled if that is allowed; what was done and why. A pull is in the ledger."""
        from runner.runtimes.docker import images

        try:
            found = images.find(self.client, name)
        except RigError as error:
            if self.may_pull:
                raise
            return "would build", error.message
        if found:
            return "reused", f"{found.id[:19]} is here"
        if not self.may_pull:
            return "would build", "it is not here and would be pulled"
        if self.offline:
            images.ensure(self.client, name, self._say(name), offline=True)
        with self._ledger.effect("image", Path(name), group="downloads"):
            images.ensure(self.client, name, self._say(name))
        return "built", "it was not here and has been pulled"

    def image(self, name: str) -> Image | None:
        """The image; None where it would have to be pulled and that is not allowed now."""
        from runner.runtimes.docker import images

        action, _ = self.bring(name)
        return None if action == "would build" else images.find(self.client, name)

    def _say(self, name: str) -> Any:
        return lambda message: self._on_progress(Progress(name, message)) if self._on_progress else None


@dataclass(frozen=True)
class InContainer:
    """A `Place`: each call in a container of its own, as hardened as the server's, without a network unless asked."""

    containers: Containers
    launch: DockerLaunch
    image: str
    network: bool = False

    def check(self, script: Path) -> None:
        self._command(script)

    def parts(self, script: Path) -> Parts:
        found = self.containers.image(self.image)
        env = {name: text_digest(text) if looks_secret(name) else text for name, text in self.launch.env.items()}
        asked = {"gpus": self.launch.gpus, "env": env, "mounts": self.launch.mounts}
        return {
            "image": found.id if found else f"{self.image}, which is not here yet",
            **flatten("launch", {key: value for key, value in asked.items() if value}),
            **({"network": "true"} if self.network else {}),
        }

    def run(self, call: Call, bench: Workbench) -> None:
        from runner.runtimes.docker.engine import explanation, is_engine_error
        from runner.runtimes.docker.launching import lent

        if self.network and self.containers.offline:
            raise SetupError(
                f"setup.{bench.step}: offline: {call.script.name} runs with `network: true`",
                hint="run once without --offline; what it makes is reused from then on",
            )
        try:
            plan = self._plan(call, bench)
            bench.reproduce.write_text(_reproduce_text(bench, plan))
            with lent(bench.directory, plan.user):
                tail, end = self._run(plan, bench)
        except RigError as error:
            raise SetupError(f"setup.{bench.step}: {error.message}", hint=error.hint) from error
        except Exception as error:
            if not is_engine_error(error):
                raise
            hint = f"{bench.reproduce} repeats the step"
            raise SetupError(f"setup.{bench.step}: the container failed: {explanation(error)}", hint=hint) from error
        if end.status:
            status = 128 - end.status if end.status > 128 else end.status
            because = " (the container ran out of memory: raise launch.memory)" if end.out_of_memory else ""
            raise failure(bench, call.script.name, status, tail, because)

    def _run(self, plan: ContainerPlan, bench: Workbench) -> tuple[deque[str], Ended]:
        from runner.runtimes.docker import gpus
        from runner.runtimes.docker.containers import ended, started
        from runner.runtimes.docker.plan import command_line

        tail: deque[str] = deque(maxlen=TAIL_LINES)
        try:
            with started(self.containers.client, plan, bench.note) as (container, refused):
                plan = plan.without_ulimits(*refused)
                bench.reproduce.write_text(_reproduce_text(bench, plan))
                bench.note(f"$ {shlex.join(command_line(_told(plan)))}")
                for line in _lines(container.logs(stream=True, follow=True)):
                    tail.append(line)
                    bench.note(line)
                    bench.say(line[:200])
                container.wait()
                end = ended(container)
        except Exception as error:
            if plan.gpus and gpus.NO_DRIVER.search(str(error)):
                raise gpus.missing_error(self.launch.gpus, self.containers.engine, str(error)) from error
            raise
        assert end is not None
        return tail, end

    def _plan(self, call: Call, bench: Workbench) -> ContainerPlan:
        from runner.runtimes.docker.labels import labels
        from runner.runtimes.docker.launching import base_plan, default_user, read_only_binds
        from runner.runtimes.docker.plan import Bind
        from runner.runtimes.triton import new_identity

        found = self.containers.image(self.image)
        assert found is not None, "a step that runs may pull"
        engine = self.containers.engine
        name, marks = new_identity(f"step-{bench.step}"), labels(f"setup.{bench.step}", "step")
        plan = base_plan(self.launch, found, engine, name=name, labels=marks)
        script, staging = call.script.absolute(), bench.directory.absolute()
        return replace(
            plan,
            command=(
                *_ONE_STREAM,
                *self._command(script),
                "--output",
                str(staging / call.output.name),
                *call.arguments,
            ),
            # Whoever the server runs as: what a step writes has to be yours.
            user=default_user(engine, os.getuid(), os.getgid()),
            folder="/tmp",
            env={**plan.env, **_ENVIRONMENT, **self._proxies()},
            binds=(
                *plan.binds,
                Bind(script.parent, SCRIPTS),
                *read_only_binds(call.reads),
                Bind(staging, str(staging), writable=True),
            ),
            network="none" if not self.network else self.launch.network,
            ipc="private",
        )

    def _command(self, script: Path) -> list[str]:
        *interpreter, path = command_for(script, "python3")
        return [*interpreter, f"{SCRIPTS}/{Path(path).name}"]

    def _proxies(self) -> Mapping[str, str]:
        return {name: os.environ[name] for name in _PROXIES if self.network and name in os.environ}


def undo_image(entry: Entry, dry_run: bool) -> Removal:
    """Remove an image that setup pulled, unless something uses it."""
    from runner.runtimes.docker import images
    from runner.runtimes.docker.engine import connect, explanation, is_engine_error

    name = str(entry.path)
    try:
        client = connect()
        found = images.find(client, name)
        if found is None:
            return Removal(entry.kind, entry.path, 0, "already gone")
        if dry_run:
            return Removal(entry.kind, entry.path, 0, "would remove")
        client.images.remove(name)
    except RigError as error:
        return Removal(entry.kind, entry.path, 0, "failed", error.message)
    except Exception as error:
        if not is_engine_error(error):
            raise
        return Removal(entry.kind, entry.path, 0, "kept", explanation(error))
    return Removal(entry.kind, entry.path, 0, "removed")


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Lines of an output that comes in pieces; a progress bar's carriage returns end lines, too."""
    rest = b""
    for chunk in chunks:
        *whole, rest = re.split(rb"\r?\n|\r", rest + chunk)
        yield from (line.decode(errors="replace").rstrip() for line in whole)
    if rest:
        yield rest.decode(errors="replace").rstrip()


def _told(plan: ContainerPlan) -> ContainerPlan:
    return replace(plan, command=redact(plan.command))


def _reproduce_text(bench: Workbench, plan: ContainerPlan) -> str:
    """A shell script that runs the same container as the caller, writing to a folder of the user's choice."""
    from runner.runtimes.docker.plan import command_line

    told = _told(plan)
    binds = tuple(replace(bind, source=Path(_FOLDER)) if bind.writable else bind for bind in plan.binds)
    passed = shlex.join(command_line(replace(told, user=_USER, binds=binds)))
    for name in (_FOLDER, _USER):
        # The quoting keeps the shell from reading a word; these two it should.
        passed = passed.replace(name, f"'\"{name}\"'")
    return (
        f"#!/bin/sh\n# Repeats setup step `{bench.step}` without the runner. "
        f"Usage: sh {bench.step}.reproduce.sh [FOLDER]\n{left_out(plan.command, told.command)}set -eu\n"
        f'FOLDER="${{1:-./{bench.step}}}"\nmkdir -p "$FOLDER"\nFOLDER="$(cd "$FOLDER" && pwd)"\n'
        f'USER_AND_GROUP="$(id -u):$(id -g)"\nexec {passed}\n'
    )
