"""Structured logs: a readable line on a terminal, native fields in the journal, or JSON.

A message is a constant text and what varies goes into ``extra``: ``log.warning("device lost",
extra={"device": "press_1"})`` is one line ``device lost  device=press_1`` on a terminal and
``GATEWAY_DEVICE=press_1`` for journalctl.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import struct
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO, TypeAlias

from gateway.errors import GatewayError
from gateway.terminal import Colour, paint, printable, wants_colour

Format: TypeAlias = Literal["text", "json", "journal"]
FORMATS: tuple[Format, ...] = ("text", "json", "journal")
LEVELS = ("debug", "info", "warning", "error")

HANDLER = "gateway"
JOURNAL = Path("/run/systemd/journal/socket")

NOISY = ("snap7", "pymodbus", "urllib3", "influxdb_client", "uvicorn.access")
"""Libraries that log an error which they raise too: our one line an outage says it better."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_COLOURS: dict[int, Colour] = {30: "yellow", 40: "red", 50: "red"}
_PRIORITIES = {10: 7, 20: 6, 30: 4, 40: 3, 50: 2}  # syslog(3)

MAX_CHARS = 4000
"""Longest message or field; a device may send a huge string."""

HIDDEN = "***"
_secrets: set[str] = set()
_SECRET_NAME = re.compile(r"token|password|passwd|secret|authorization|api_?key", re.I)
_SECRET_TEXT = re.compile(
    r"\b((?:authorization\s*[:=]\s*)?(?:token|bearer|basic)\s+|(?:token|password|passwd|secret)=)"
    r"[^\s,;&'\"]{8,}",
    re.I,
)


SHORTEST_SECRET = 4


def hide(secret: str) -> None:
    """Never let this text into a log, wherever it comes from. Call it for every secret read.

    One of fewer than 4 characters is no secret, and would be found inside of ordinary words.
    """
    if len(secret) >= SHORTEST_SECRET:
        _secrets.add(secret)


def without_secrets(text: str) -> str:
    """The text with known secrets, and what looks like one, replaced by ``***``."""
    for secret in _secrets:
        text = text.replace(secret, HIDDEN)
    return _SECRET_TEXT.sub(rf"\1{HIDDEN}", text)


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The record's own fields: what the caller gave as ``extra``."""
    out: dict[str, Any] = {}
    for key, value in vars(record).items():
        if key in _STANDARD or key.startswith("_"):
            continue
        if _SECRET_NAME.search(key):
            value = HIDDEN
        elif not isinstance(value, int | float | None):
            value = _safe(str(value))
        out[key] = value
    return out


def message_of(record: logging.LogRecord) -> str:
    """The message on one line; it may hold what a device or a server said."""
    return _safe(record.getMessage())


def traceback_of(record: logging.LogRecord) -> str:
    """The traceback, lines kept but all else made safe; empty where there is none."""
    if not record.exc_info or record.exc_info[0] is None:
        return ""
    text = logging.Formatter().formatException(record.exc_info)
    return "\n".join(printable(line) for line in without_secrets(text).split("\n"))


def _safe(text: str) -> str:
    text = printable(without_secrets(text))
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}... ({len(text)} characters)"


def _origin(record: logging.LogRecord) -> str:
    return record.name.removeprefix("gateway.")


def _value(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or set(text) & set(' "=') else text


def _fields_text(record: logging.LogRecord) -> str:
    return " ".join(f"{key}={_value(value)}" for key, value in fields_of(record).items())


class TextFormatter(logging.Formatter):
    """``07:43:01 warning  acquire: device lost  device=press_1 reason=timeout``."""

    def __init__(self, colour: bool, *, dated: bool) -> None:
        super().__init__()
        self._colour = colour
        self._time = "%Y-%m-%d %H:%M:%S" if dated else "%H:%M:%S"

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback indented below it."""
        level = record.levelname.lower().ljust(7)
        if record.levelno in _COLOURS:
            level = paint(level, _COLOURS[record.levelno], self._colour)
        when = time.strftime(self._time, time.localtime(record.created))
        line = f"{paint(when, 'dim', self._colour)} {level} {_origin(record)}: {message_of(record)}"
        if fields := _fields_text(record):
            line += "  " + paint(fields, "dim", self._colour)
        trace = traceback_of(record)
        return line + "".join(f"\n    | {part}" for part in trace.split("\n")) if trace else line


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON; a field never hides one of the fixed names."""
        out: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message_of(record),
        }
        for key, value in fields_of(record).items():
            out[f"{key}_" if key in out else key] = value
        if trace := traceback_of(record):
            out["traceback"] = trace
        return json.dumps(out, ensure_ascii=False, default=str)


class JournalHandler(logging.Handler):
    """Journald's native protocol (systemd, "Native Journal Protocol"): one datagram a record."""

    def __init__(self, path: Path = JOURNAL) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._path = str(path)

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record; one too large for a datagram goes as a sealed memory file."""
        try:
            body = journal_entry(record)
            try:
                self._socket.sendto(body, self._path)
            except OSError:
                self._send_as_file(body)
        except Exception:
            self.handleError(record)

    def _send_as_file(self, body: bytes) -> None:
        import fcntl

        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        with os.fdopen(os.memfd_create("gateway-log", flags), "wb", buffering=0) as file:
            file.write(body)
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(file.fileno(), fcntl.F_ADD_SEALS, seals)
            # not by socket.send_fds, which drops the address in Python 3.11
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", file.fileno()))]
            self._socket.sendmsg([b""], rights, 0, self._path)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()


def journal_entry(record: logging.LogRecord) -> bytes:
    """The record as journald takes it; own fields are named ``GATEWAY_...``.

    journalctl shows the message alone, so the fields stand there too, and the constant text in
    ``GATEWAY_EVENT``.
    """
    event = message_of(record)
    parts = (f"{event}  {_fields_text(record)}".rstrip(), traceback_of(record))
    given: dict[str, Any] = {
        "MESSAGE": "\n".join(part for part in parts if part),
        "GATEWAY_EVENT": event,
        "PRIORITY": _PRIORITIES.get(record.levelno, 6),
        "SYSLOG_IDENTIFIER": "gateway",
        "GATEWAY_LOGGER": record.name,
        "CODE_FILE": record.pathname,
        "CODE_LINE": record.lineno,
        "CODE_FUNC": record.funcName,
    }
    for key, value in fields_of(record).items():
        given["GATEWAY_" + re.sub(r"[^A-Z0-9_]", "_", key.upper())[:56]] = value
    return journal_fields(given)


def journal_fields(fields: Mapping[str, Any]) -> bytes:
    """An entry of these fields in journald's native protocol."""
    out = []
    for key, value in fields.items():
        data = str(value).encode("utf-8", "backslashreplace")
        # the binary form, in which a line feed in a value cannot begin a field of its own
        out.append(key.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
    return b"".join(out)


def in_journal(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the stream is the journal's, by its device and inode in JOURNAL_STREAM."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def setup(
    level: str | None = None,
    format: Format | None = None,
    *,
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
    journal: Path = JOURNAL,
) -> None:
    """Log to stderr or the journal; may be called again.

    What is not given comes from GATEWAY_LOG_LEVEL (debug, info, warning, error; default info) and
    GATEWAY_LOG (text, json, journal; default: journal under systemd, else text). GatewayError
    where one of them says something else.
    """
    stream = stream or sys.stderr
    level = (level or environ.get("GATEWAY_LOG_LEVEL") or "info").lower()
    chosen = format or environ.get("GATEWAY_LOG") or ""
    if level not in LEVELS:
        raise GatewayError(f"GATEWAY_LOG_LEVEL '{level}': expected one of {', '.join(LEVELS)}")
    if chosen and chosen not in FORMATS:
        raise GatewayError(f"GATEWAY_LOG '{chosen}': expected one of {', '.join(FORMATS)}")
    if not chosen:
        chosen = "journal" if in_journal(stream, environ) and journal.is_socket() else "text"
    handler: logging.Handler
    if chosen == "journal":
        handler = JournalHandler(journal)
    else:
        handler = logging.StreamHandler(stream)
        on_terminal = stream.isatty()
        handler.setFormatter(
            JsonFormatter()
            if chosen == "json"
            else TextFormatter(wants_colour(stream, environ), dated=not on_terminal)
        )
    root = logging.getLogger()
    for old in [h for h in root.handlers if h.get_name() == HANDLER]:
        root.removeHandler(old)
        old.close()
    handler.set_name(HANDLER)
    root.addHandler(handler)
    root.setLevel(logging.WARNING if level == "info" else level.upper())
    for name in ("gateway", "drivers"):
        logging.getLogger(name).setLevel(level.upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(level.upper() if level == "debug" else logging.CRITICAL)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a closed stderr is no reason for a traceback onto it
