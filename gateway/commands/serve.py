"""`gateway serve`: the page and the API over all gateways that write to one Redis."""

from __future__ import annotations

import faulthandler
import resource
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.console import say


def serve(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", readable=False, help="The node's file (YAML).")
    ],
    check: Annotated[bool, typer.Option("--check", help="Only look at the file.")] = False,
) -> None:
    """Show all gateways of one Redis on one page and API.

    As many nodes as you like may run, behind a load balancer: all show the same, and keep nothing.
    """
    from gateway import logs
    from gateway.serve.loading import load_serve

    settings = load_serve(file)
    if check:
        history = "no history" if settings.history is None else settings.history.url
        say(f"{file}: good; Redis {settings.redis.host}:{settings.redis.port}, {history}", "green")
        return
    logs.setup()
    faulthandler.enable()
    # a core dump would hold passwords
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from gateway.serve.running import run

    raise typer.Exit(run(settings, file.absolute()))
