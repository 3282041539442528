"""What the commands print, and with which exit codes they end."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from gateway.errors import GatewayError
from gateway.terminal import Colour, aligned, paint, wants_colour

EXIT_BUG = 70
"""EX_SOFTWARE of sysexits.h."""
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141
"""What a shell calls the end of a program whose reader has gone (128 + SIGPIPE)."""
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
