"""The options that every verb with a FILE shares, the flags that the file itself declares included."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli.console import note
from runner.errors import UsageError

if TYPE_CHECKING:
    from runner.scenario.diagnostics import Diagnostic
    from runner.scenario.loading import LoadedScenario, Satisfied
    from runner.scenario.resolving import Resolution
    from runner.scenario.schema import Var


@dataclass(frozen=True)
class ScenarioOptions:
    """Which scenario, and what the command line changes in it."""

    ref: str | None = None
    target: str | None = None
    set_: tuple[str, ...] = ()
    values: tuple[Path, ...] = ()
    flags: dict[str, str] = field(default_factory=dict)

    def load(self) -> LoadedScenario:
        """Load it; all mistakes come in one ScenarioError."""
        from runner.runtimes.host import satisfied

        return self._loaded(self.target, satisfied)

    def load_matrix(self) -> LoadedScenario:
        """As `load`, for what goes through the points of the matrix; says which overrides the matrix replaces."""
        loaded = self.load()
        for place, address in loaded.overruled():
            note(f"warning: {place} has no effect on {address}: the matrix gives it its values; shorten that axis")
        return loaded

    def load_for(self, target: str | None) -> LoadedScenario:
        """Load it for a target, whatever that requires; None: for the first one."""
        return self._loaded(target, lambda requires: ())

    def _loaded(self, target: str | None, satisfied: Satisfied) -> LoadedScenario:
        from runner.scenario.loading import load_scenario

        return load_scenario(
            self.ref,
            target=target,
            set_=self.set_,
            values=self.values,
            flags=self.flags,
            satisfied=satisfied,
            further=(_goal_problems,),
        )


def _goal_problems(resolution: Resolution) -> Sequence[Diagnostic]:
    """Mistakes in what a study is after; only a file with a study pays for the metrics."""
    if resolution.root.child("tune") is None:
        return ()
    from runner.tune.checks import check_goals

    return check_goals(resolution)


class ScenarioCommand(click.Command):
    """A verb that takes `[FILE]` and the flags declared in that file (`vars.*.flag`)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.context_settings["ignore_unknown_options"] = True

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from runner.scenario.loading import declared_flags

        try:
            declared = declared_flags(None)
        except Exception:  # a broken ./scenario.yaml must not take `--help` away
            return
        rows = [(flag, var.help or f"sets {var.type} variable") for flag, var in declared.items()]
        if rows:
            with formatter.section("Flags of the default scenario (each file declares its own)"):
                formatter.write_dl(rows)


def scenario_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add [FILE], --target, --set and --values; the function gets them as one `options: ScenarioOptions`."""

    def collect(
        arguments: tuple[str, ...], target: str | None, set_: tuple[str, ...], values: tuple[Path, ...], **rest: Any
    ) -> Any:
        ref, flags = split_arguments(arguments)
        return function(options=ScenarioOptions(ref, target, set_, values, flags), **rest)

    collect.__name__, collect.__doc__ = function.__name__, function.__doc__
    collect.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    for decorate in (
        click.option(
            "--values", multiple=True, type=click.Path(path_type=Path), help="Override file; may be repeated."
        ),
        click.option(
            "--set", "set_", multiple=True, metavar="ADDRESS=VALUE", help="Override one value; may be repeated."
        ),
        click.option("--target", help="Where to run; by default the first target whose `requires` hold."),
        click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[FILE]"),
    ):
        collect = decorate(collect)
    return collect


def split_arguments(arguments: Sequence[str]) -> tuple[str | None, dict[str, str]]:
    """Tell FILE from declared flags and their values, in whatever order they came.

    Raises:
        UsageError: a flag that the file does not declare, a flag without a value, or a second FILE.
    """
    from runner.scenario.loading import declared_flags

    ref = _find_file(arguments)
    declared = declared_flags(ref)
    flags: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        token = rest.pop(0)
        if token.startswith("-"):
            name, equals, value = token.partition("=")
            flags[name] = value if equals else _flag_value(name, _declared(name, declared), rest)
            _declared(name, declared)
        elif token != ref:
            raise UsageError(f"unexpected argument {token!r}: the scenario is already {ref!r}")
    return ref, flags


def _find_file(arguments: Sequence[str]) -> str | None:
    """The first word that no flag can claim; failing that, a flag's word that is plainly a scenario file."""
    claimed: list[str] = []
    previous = ""
    for token in arguments:
        if not token.startswith("-"):
            if not previous.startswith("-") or "=" in previous:
                return token
            claimed.append(token)
        previous = token
    return next((token for token in claimed if token.endswith((".yaml", ".yml"))), None)


def _declared(name: str, declared: dict[str, Var]) -> Var:
    if name in declared:
        return declared[name]
    near = difflib.get_close_matches(name, declared, n=1)
    known = ", ".join(declared) or "none"
    raise UsageError(
        f"no such option: {name}",
        hint=f"did you mean {near[0]}?" if near else f"this scenario declares: {known}; any value: --set ADDRESS=VALUE",
    )


def _flag_value(name: str, var: Var, rest: list[str]) -> str:
    """The word after the flag; a bool flag may stand alone."""
    if var.type == "bool" and (not rest or rest[0].lower() not in ("true", "false")):
        return "true"
    if not rest or (rest[0].startswith("--")):
        raise UsageError(f"{name} needs a value of type {var.type}", hint=f"for example {name} {var.default}")
    return rest.pop(0)
