"""What `gateway init` is told of a machine: ``HOST:rack,slot``, ``HOST:port``, ``DEV``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

from pydantic import TypeAdapter, ValidationError

from gateway.commands.console import WrongUsage
from gateway.settings import HostName

_HOST: TypeAdapter[str] = TypeAdapter(HostName)
_RACK_SLOT = re.compile(r"([0-7]),([0-9]|[12][0-9]|3[01])", re.ASCII)
_IPV6 = re.compile(r"[0-9a-f]*:[0-9a-f]*:[0-9a-f:.%]*", re.ASCII | re.IGNORECASE)
_NI_DEVICE = re.compile(r"[A-Za-z0-9_-]{1,60}", re.ASCII)

S7_PORT = 102
"""ISO on TCP (RFC 1006)."""
NI_PORT = 31763
"""Usual port of an NI gRPC Device Server."""


class S7At(NamedTuple):
    """An S7 CPU; rack and slot only where they were given."""

    host: str
    port: int
    rack_slot: tuple[int, int] | None
    blocks: tuple[int, ...]
    """Data blocks to look at."""

    @property
    def where(self) -> str:
        """As a person writes it."""
        return self.host if self.port == S7_PORT else f"{self.host}:{self.port}"


class ModbusAt(NamedTuple):
    """Modbus/TCP: a device, or a converter with units behind it."""

    host: str
    port: int

    @property
    def where(self) -> str:
        """As a person writes it."""
        return f"{self.host}:{self.port}"


class SerialAt(NamedTuple):
    """Modbus RTU at a serial port."""

    path: str

    @property
    def where(self) -> str:
        """As a person writes it."""
        return self.path


class NidaqAt(NamedTuple):
    """An NI card: in this computer, or behind a gRPC Device Server ``grpc`` (host:port)."""

    card: str
    grpc: str | None

    @property
    def where(self) -> str:
        """As a person writes it."""
        return f"{self.grpc}/{self.card}" if self.grpc else self.card


Wish: TypeAlias = S7At | ModbusAt | SerialAt | NidaqAt
T = TypeVar("T")


def s7_at(text: str, blocks: tuple[int, ...] = ()) -> S7At:
    """``HOST``, ``HOST:rack,slot``, ``HOST:port`` or ``HOST:port:rack,slot``; WrongUsage."""
    host, rest = _divided("--s7", text)
    port, _, place = rest.rpartition(":") if "," in rest else (rest, "", "")
    number = _port("--s7", text, port, S7_PORT)
    if not place:
        return S7At(host, number, None, blocks)
    found = _RACK_SLOT.fullmatch(place)
    if found is None:
        raise WrongUsage(
            f"--s7 {text}: '{place}' is not rack and slot; expected e.g. {host}:0,1 "
            "(rack 0 to 7, slot 0 to 31)"
        )
    return S7At(host, number, (int(found[1]), int(found[2])), blocks)


def modbus_at(text: str) -> ModbusAt:
    """``HOST`` or ``HOST:port``; WrongUsage."""
    host, port = _divided("--modbus", text)
    return ModbusAt(host, _port("--modbus", text, port, 502))


def serial_at(text: str) -> SerialAt:
    """The path of a serial port; WrongUsage."""
    if not text.startswith("/"):
        raise WrongUsage(f"--serial {text}: not the path of a port; expected e.g. /dev/ttyUSB0")
    return SerialAt(text)


def nidaq_at(text: str) -> NidaqAt:
    """``DEV``, ``HOST:port``, or ``HOST:port/DEV``; WrongUsage."""
    place, _, card = text.partition("/")
    if not card and ":" not in place and "." not in place:
        place, card = "", place
    card = card or "cDAQ1Mod1"
    if not _NI_DEVICE.fullmatch(card):
        raise WrongUsage(f"--nidaq {text}: '{card}' is no device of NI; expected e.g. cDAQ1Mod1")
    if not place:
        return NidaqAt(card, None)
    host, port = _divided("--nidaq", place)
    shown = f"[{host}]" if ":" in host else host
    return NidaqAt(card, f"{shown}:{_port('--nidaq', text, port, NI_PORT)}")


def try_until_right(ask: Callable[[], str], parse: Callable[[str], T], say: Callable[[str], None],
                    most: int = 5) -> T:  # fmt: skip
    """What a person answers, asked again while it is wrong; WrongUsage after ``most`` times."""
    for _ in range(most - 1):
        try:
            return parse(ask().strip())
        except WrongUsage as error:
            say(str(error))
    return parse(ask().strip())


def _divided(flag: str, text: str) -> tuple[str, str]:
    """Host and what follows it after a colon; an IPv6 address stands in brackets there."""
    bracketed = re.fullmatch(r"\[([^\]]+)\](?::(.*))?", text)
    if bracketed:
        host, rest = bracketed[1], bracketed[2] or ""
    elif "://" in text or _IPV6.fullmatch(text):
        host, rest = text, ""
    else:
        host, _, rest = text.partition(":")
    try:
        return _HOST.validate_python(host), rest
    except ValidationError as error:
        found = error.errors()[0]
        words = str(found.get("ctx", {}).get("error", found["msg"]))
        raise WrongUsage(f"{flag}: {words}") from None


def _port(flag: str, text: str, port: str, usual: int) -> int:
    if not port:
        return usual
    if not port.isascii() or not port.isdigit() or not 1 <= int(port[:6]) <= 65535:
        raise WrongUsage(f"{flag} {text}: '{port}' is not a port; expected 1 to 65535")
    return int(port)


def existing_token(path: Path) -> Path:
    """The absolute path of a token's file that holds one; WrongUsage."""
    try:
        token = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise WrongUsage(
            f"--token-file {path}: {why}; write the token into it first, readable by the gateway's "
            "user alone"
        ) from error
    if not token or not token.isascii() or not token.isprintable():
        raise WrongUsage(f"--token-file {path} holds no token; expected one line")
    return path.absolute()
