"""The questions of `gateway init` on a terminal; Enter skips each of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import typer

from gateway.commands.console import WrongUsage, complain
from gateway.commands.firststeps.wishes import (
    Wish,
    modbus_at,
    nidaq_at,
    s7_at,
    serial_at,
    try_until_right,
)

T = TypeVar("T")

_BLOCKS = re.compile(r"(DB)?([1-9][0-9]{0,4})", re.IGNORECASE | re.ASCII)


class InfluxWish(NamedTuple):
    """Where a person wants the data; the token still as text."""

    url: str
    org: str
    bucket: str
    token: str


def ask_machines() -> list[Wish]:
    """What to look at; may be nothing."""
    wishes: list[Wish] = []
    s7 = _asked(
        "S7 PLC: address, e.g. 192.168.0.10 (or 192.168.0.10:0,2 for rack 0, slot 2)", s7_at
    )
    if s7 is not None:
        blocks = _asked("  data blocks to look at, e.g. 4, 7", block_numbers)
        wishes.append(s7._replace(blocks=blocks or ()))
    others: tuple[Wish | None, ...] = (
        _asked("Modbus/TCP device or converter: address, e.g. 10.0.0.7", modbus_at),
        _asked("Modbus RTU: serial port, e.g. /dev/ttyUSB0", serial_at),
        _asked("NI card, e.g. cDAQ1Mod1, or daq-pc:31763/cDAQ1Mod1 in another PC", nidaq_at),
    )
    return wishes + [wish for wish in others if wish is not None]


def ask_influx() -> InfluxWish | None:
    """Where an InfluxDB is; None: nowhere."""
    url = _prompt("InfluxDB 2 besides the built-in history, e.g. http://10.0.0.9:8086")
    if not url:
        return None
    org = _prompt("  organisation")
    bucket = _prompt("  bucket")
    token = str(typer.prompt("  API token (not shown)", hide_input=True, err=True)).strip()
    return InfluxWish(url, org, bucket, token)


def ask_name(usual: str) -> str:
    """The gateway's name."""
    return str(typer.prompt("Name of this gateway", default=usual, err=True)).strip()


def block_numbers(text: str) -> tuple[int, ...]:
    """``4, 7`` or ``DB4 DB7``; WrongUsage."""
    numbers = []
    for word in re.split(r"[,\s]+", text.strip()):
        found = _BLOCKS.fullmatch(word)
        if found is None or int(found[2]) > 65535:
            raise WrongUsage(f"'{word}' is not the number of a data block; expected e.g. 4")
        numbers.append(int(found[2]))
    return tuple(dict.fromkeys(numbers))


def _prompt(question: str) -> str:
    return str(typer.prompt(question, default="", show_default=False, err=True)).strip()


def _asked(question: str, parse: Callable[[str], T]) -> T | None:
    return try_until_right(
        lambda: _prompt(question), lambda text: parse(text) if text else None, complain
    )
