"""The options of every verb that measures into a directory of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from runner.cli.setup_command import with_setup_options


def measuring_options(
    *, made: str, resumed: str, or_else: str = ""
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add --output-dir, --resume, --identify, --progress and those of setup.

    The function gets `progress: str`, and the others as `run_options: RunOptions`.

    Args:
        made: What --output-dir says of itself.
        resumed: What --resume goes on with, for example "unfinished run".
        or_else: A sentence about what else it does.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def collect(
            output_dir: Path, resume: bool, identify: bool, offline: bool, trust_first_use: bool, **rest: Any
        ) -> Any:
            # Imported when it is called: `--help` does without.
            from runner.workflow import RunOptions

            options = RunOptions(
                output_dir=output_dir,
                resume=resume,
                identify=identify,
                offline=offline,
                trust_first_use=trust_first_use,
            )
            return function(run_options=options, **rest)

        collect.__name__, collect.__doc__ = function.__name__, function.__doc__
        collect.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        collect = with_setup_options(collect)
        for option in reversed(_options(made, resumed, or_else)):
            collect = option(collect)
        return collect

    return decorate


def _options(made: str, resumed: str, or_else: str) -> list[Callable[[Callable[..., Any]], Callable[..., Any]]]:
    going_on = f"Go on with the newest {resumed} of this scenario in --output-dir. {or_else}".rstrip()
    words = ["auto", "live", "plain", "none"]
    folder = click.Path(path_type=Path, file_okay=False)
    return [
        click.option("--output-dir", type=folder, default=Path("runs"), show_default=True, help=made),
        click.option("--resume", is_flag=True, help=going_on),
        click.option("--identify", is_flag=True, help="Record host name and serial numbers as they are, not hashed."),
        click.option(
            "--progress",
            type=click.Choice(words),
            default="auto",
            show_default=True,
            help="How progress is shown on stderr.",
        ),
    ]
