"""`gateway writer`: brings rows from Redis Streams into a sink."""

from __future__ import annotations

import faulthandler
import os
import resource
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.console import say
from gateway.terminal import count


def writer(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", readable=False, help="The writer's file (YAML).")
    ],
    worker: Annotated[
        str | None,
        typer.Option("--worker", metavar="NAME", help="This worker's name in its group."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only look at the file.")] = False,
) -> None:
    """Bring rows from Redis Streams into a sink, until SIGTERM.

    As many as you like may run with one file: they share the work. A row is acknowledged when
    the sink has stored it.
    """
    # before numpy comes: its BLAS would start threads whose spinning costs more than they bring
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from gateway import logs
    from gateway.relay.loading import load_writer

    settings = load_writer(file)
    if worker is not None:
        from gateway.relay.loading import named

        settings = named(settings, worker)
    if check:
        streams = count(len(settings.streams), "name")
        say(f"{file}: good; group {settings.group} of {streams} of streams", "green")
        return
    logs.setup()
    faulthandler.enable()
    # a core dump would hold passwords
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from gateway.relay.running import run

    raise typer.Exit(run(settings))
