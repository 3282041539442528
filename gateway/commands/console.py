"""What the commands share: the arguments and options that many of them have, and how they print."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.printing import (
    EXIT_BAD,
    EXIT_CONFIG,
    EXIT_NOT_RUNNING,
    EXIT_USAGE,
    OutputFailed,
    WrongUsage,
    coloured,
    complain,
    flush,
    out,
    out_json,
    say,
    state_colour,
    table,
)
from gateway.errors import GatewayError

__all__ = [
    "EXIT_BAD",
    "EXIT_CONFIG",
    "EXIT_NOT_RUNNING",
    "EXIT_USAGE",
    "AsJson",
    "ConfigFile",
    "ConfigOption",
    "DeviceName",
    "OnSim",
    "OutputFailed",
    "SocketOption",
    "WrongUsage",
    "coloured",
    "complain",
    "device_names",
    "flush",
    "nearest",
    "out",
    "out_json",
    "say",
    "state_colour",
    "table",
]

ConfigFile = Annotated[
    Path,
    # whether it can be read is said in the same words as all that may be wrong with it
    typer.Argument(metavar="FILE", readable=False, help="The gateway's configuration (YAML)."),
]


def device_names(context: typer.Context, incomplete: str) -> list[str]:
    """Names of devices for the shell's completion; nothing where the file cannot be read."""
    from gateway.yamlfile import read_yaml

    try:
        devices = read_yaml(Path(context.params["file"])).root["devices"]
    except (GatewayError, KeyError, TypeError):
        return []
    return [name for name in devices if name.startswith(incomplete)]


DeviceName = Annotated[
    str,
    typer.Argument(metavar="DEVICE", help="A device of that file.", autocompletion=device_names),
]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts: JSON instead of text.")]
SocketOption = Annotated[
    Path | None,
    typer.Option("--socket", metavar="PATH", readable=False, help="The gateway's Unix socket."),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", readable=False, help="Take the socket from this configuration."
    ),
]
OnSim = Annotated[
    bool, typer.Option("--sim", help="Ask the running `gateway sim FILE`, not the device.")
]


def nearest(name: str, known: Iterable[str]) -> str:
    """The nearest spelling among those known, or all of them."""
    import difflib

    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1)
    if near:
        return f"did you mean '{near[0]}'?"
    few = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"there is: {few}" if names else "it has none"
