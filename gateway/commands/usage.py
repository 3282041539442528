"""A command that knows a slip of the hand: a file where the running gateway is asked."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

_UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""Of click, which newer releases of typer have a copy of."""


class Command(TyperCommand):
    """Says what to write where ``gateway status FILE`` was meant as ``--config FILE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As of any command; with a hint in the usage error where there is one."""
        given = list(args)  # parsing empties it
        try:
            return super().parse_args(ctx, args)
        except _UsageError as error:
            message = str(error)
            files = [a for a in given if a.endswith((".yaml", ".yml"))]
            takes = any("--config" in getattr(p, "opts", ()) for p in self.params)
            if takes and files and "--config" not in given and "unexpected extra" in message:
                ctx.fail(f"{message}; did you mean --config {files[0]}?")
            raise
