"""A command that reads its arguments itself, because they are those of another tool."""

from __future__ import annotations

import click


class RawCommand(click.Command):
    """Hands every argument to the callback as `context.obj`, `--help` included."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.obj = tuple(args)
        return []
