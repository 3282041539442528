"""What the commands share: how they print, colour, and the options that many of them have."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.errors import GatewayError
from gateway.terminal import Colour, aligned, paint, wants_colour

EXIT_BAD = 1
"""Something that was looked at is not good."""
EXIT_USAGE = 2
EXIT_NOT_RUNNING = 3
"""As in the LSB's status actions."""
EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h; systemd does not restart on it."""


class WrongUsage(GatewayError):
    """The command line asks for what there is not; exit 2."""


class OutputFailed(GatewayError):
    """Nothing more can be printed to stdout: its disk is full, or its reader has gone."""

    def __init__(self, error: OSError) -> None:
        self.reader_gone = isinstance(error, BrokenPipeError)
        super().__init__(f"cannot write the output: {error.strerror}")


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


def out(lines: str | Iterable[str]) -> None:
    """Print data to stdout; OutputFailed where that takes no more."""
    for line in [lines] if isinstance(lines, str) else lines:
        try:
            sys.stdout.write(f"{line}\n")
        except OSError as error:
            raise OutputFailed(error) from error


def out_json(value: Any) -> None:
    """Print one object on a line of its own, at once."""
    out(json.dumps(value, ensure_ascii=False, default=str))
    flush()


def flush() -> None:
    """Hand over what was printed so far; OutputFailed where stdout does not take it."""
    try:
        sys.stdout.flush()
    except OSError as error:
        raise OutputFailed(error) from error


def say(text: str, colour: Colour | None = None) -> None:
    """Print a message to stderr; one that cannot be printed stops nothing."""
    flush()
    if colour is not None:
        text = paint(text, colour, wants_colour(sys.stderr))
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def complain(message: str, label: str = "error") -> None:
    """Print an error (or a warning) to stderr, its label in colour on a terminal."""
    colour: Colour = "red" if label == "error" else "yellow"
    say(f"{paint(f'{label}:', colour, wants_colour(sys.stderr))} {message}")


def coloured(text: str, colour: Colour) -> str:
    """The text in a colour where stdout shows colours."""
    return paint(text, colour, wants_colour(sys.stdout))


STATE_COLOURS: dict[str, Colour] = {
    "good": "green",
    "disabled": "dim",
    "connecting": "yellow",
    "retrying": "yellow",
    "uncertain": "yellow",
}


def state_colour(text: str) -> Colour:
    """The colour of a state or quality, whatever reason follows it; red for what is not known."""
    return STATE_COLOURS.get(text.partition(":")[0].lower(), "red")


def table(
    rows: Sequence[Sequence[str]],
    header: Sequence[str],
    *,
    right: Collection[int] = (),
    states: int = -1,
) -> list[str]:
    """Rows as lines below a header; the cells of column ``states`` take their state's colour."""

    def dress(column: int, text: str, padded: str) -> str:
        if text == header[column]:
            return coloured(padded, "bold")
        return coloured(padded, state_colour(text)) if column == states and text else padded

    return aligned(rows, header, right=right, dress=dress)
