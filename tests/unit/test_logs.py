"""Structured logs: what stands on a line, in the journal and in JSON, and what never does."""

from __future__ import annotations

import array
import io
import json
import logging
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import logs
from gateway.errors import GatewayError

SECRET = "s3cr3t-t0k3n-of-the-plant"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    names = ("gateway", "drivers", *logs.NOISY)
    levels = {name: logging.getLogger(name).level for name in names}
    level, raising = root.level, logging.raiseExceptions
    yield
    for handler in [h for h in root.handlers if h.get_name() == logs.HANDLER]:
        root.removeHandler(handler)
        handler.close()
    for name in names:
        logging.getLogger(name).setLevel(levels[name])
    root.setLevel(level)
    logging.raiseExceptions = raising
    logging.captureWarnings(False)


def started(format: logs.Format = "text", level: str = "info", **environ: str) -> io.StringIO:
    stream = io.StringIO()
    logs.setup(level, format, stream=stream, environ=environ)
    return stream


def test_a_line_has_level_origin_message_and_fields() -> None:
    stream = started()
    logging.getLogger("gateway.acquire").warning(
        "device lost", extra={"device": "press 1", "reason": "timeout", "tries": 3, "detail": ""}
    )
    line = stream.getvalue()
    text = ' warning acquire: device lost  device="press 1" reason=timeout tries=3 detail=""\n'
    assert line.endswith(text)
    assert line[:4].isdigit()  # not on a terminal: with the date


def test_colour_and_a_short_time_only_on_a_terminal() -> None:
    stream = Terminal()
    logs.setup("info", "text", stream=stream, environ={"TERM": "xterm"})
    logging.getLogger("gateway.x").error("bad")
    assert "\x1b[31merror  \x1b[0m" in stream.getvalue()
    stream = Terminal()
    logs.setup("info", "text", stream=stream, environ={"TERM": "xterm", "NO_COLOR": "1"})
    logging.getLogger("gateway.x").error("bad")
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue()[2] == ":"


def test_a_devices_string_can_neither_forge_a_line_nor_drive_the_terminal() -> None:
    stream = started()
    evil = "x\n2026-01-01 00:00:00 info forged\x1b[2J\u202e"
    logging.getLogger("gateway.x").info("name %s", evil, extra={"name_": evil})
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()
    assert "\u202e" not in stream.getvalue()


def test_a_huge_string_is_cut() -> None:
    stream = started()
    logging.getLogger("gateway.x").info("got", extra={"text": "y" * 1_000_000})
    assert len(stream.getvalue()) < logs.MAX_CHARS + 200
    assert "(1000000 characters)" in stream.getvalue()


@pytest.mark.parametrize("format", ["text", "json"])
def test_secrets_never_reach_the_log(format: logs.Format) -> None:
    logs.hide(SECRET)
    stream = started(format)
    log = logging.getLogger("gateway.sinks")
    log.info("sent %s", SECRET, extra={"body": f"x{SECRET}y", "headers": {"a": SECRET}})
    try:
        raise ValueError(f"refused: {SECRET}")
    except ValueError:
        log.exception("failed")
    assert SECRET not in stream.getvalue()
    assert "***" in stream.getvalue()


def test_what_looks_like_a_secret_is_hidden_too() -> None:
    stream = started()
    log = logging.getLogger("gateway.sinks")
    log.info("Authorization: Token abcdefgh12345678== sent to http://x/?token=abcdefgh12345678")
    log.info("asked", extra={"api_token": "abcdefgh12345678", "password": 12345678})
    assert "abcdefgh" not in stream.getvalue()
    assert "12345678" not in stream.getvalue()
    assert "http://x/" in stream.getvalue()


def test_a_traceback_follows_indented_and_safe() -> None:
    stream = started()
    try:
        raise RuntimeError("with \x1b escape")
    except RuntimeError:
        logging.getLogger("gateway.x").exception("a bug")
    first, *trace = stream.getvalue().splitlines()
    assert first.endswith("error   x: a bug")
    assert all(line.startswith("    | ") for line in trace)
    assert trace[-1] == "    | RuntimeError: with \\x1b escape"


def test_json_has_one_object_a_line_and_fields_never_hide_the_fixed_names() -> None:
    stream = started("json")
    logging.getLogger("gateway.x").info("two\nlines", extra={"device": "d", "n": 2, "level": "q"})
    record = json.loads(stream.getvalue())
    assert record["message"] == "two\\nlines"
    assert (record["level"], record["level_"], record["logger"]) == ("info", "q", "gateway.x")
    assert (record["device"], record["n"]) == ("d", 2)
    assert record["time"].endswith("+00:00")


def test_libraries_that_log_what_they_raise_are_quiet_unless_debugging() -> None:
    stream = started()
    logging.getLogger("pymodbus.logging").error("connection failed")
    logging.getLogger("asyncio").warning("slow callback")
    logging.getLogger("gateway.x").debug("detail")
    assert "connection failed" not in stream.getvalue()
    assert "asyncio: slow callback" in stream.getvalue()
    assert "detail" not in stream.getvalue()
    stream = started(level="debug")
    logging.getLogger("pymodbus.logging").error("connection failed")
    logging.getLogger("gateway.x").debug("detail")
    assert "connection failed" in stream.getvalue()
    assert "detail" in stream.getvalue()


def test_setup_again_replaces_the_handler() -> None:
    started()
    stream = started()
    logging.getLogger("gateway.x").info("once")
    assert stream.getvalue().count("once") == 1


@pytest.mark.parametrize("variable", ["GATEWAY_LOG", "GATEWAY_LOG_LEVEL"])
def test_a_wrong_variable_is_said_with_what_was_expected(variable: str) -> None:
    with pytest.raises(GatewayError, match=f"{variable} 'loud': expected one of"):
        logs.setup(stream=io.StringIO(), environ={variable: "loud"})


def test_a_closed_stream_is_no_error() -> None:
    stream = started()
    stream.close()
    logging.getLogger("gateway.x").error("nobody reads this")


# -- the journal ----------------------------------------------------------------------------


def entry_of(data: bytes) -> dict[str, str]:
    """A journal entry in the protocol's binary form, read as journald does."""
    fields = {}
    at = 0
    while at < len(data):
        end = data.index(b"\n", at)
        (size,) = struct.unpack_from("<Q", data, end + 1)
        start = end + 9
        fields[data[at:end].decode()] = data[start : start + size].decode()
        assert data[start + size : start + size + 1] == b"\n"
        at = start + size + 1
    return fields


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[tuple[socket.socket, Path]]:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(5)
        yield server, path


def test_the_journal_gets_native_fields(journald: tuple[socket.socket, Path]) -> None:
    server, path = journald
    logs.setup("info", "journal", environ={}, journal=path)
    try:
        raise RuntimeError("cause")
    except RuntimeError:
        logging.getLogger("gateway.acquire").exception(
            "device lost", extra={"device": "press\nPRIORITY=0", "read-ms": 1.5}
        )
    entry = entry_of(server.recv(65536))
    first, _, rest = entry["MESSAGE"].partition("\n")
    assert first.startswith("device lost  device=")
    assert first.endswith("read-ms=1.5")
    assert rest.startswith("Traceback")
    assert entry["GATEWAY_EVENT"] == "device lost"
    assert entry["MESSAGE"].endswith("RuntimeError: cause")
    assert entry["PRIORITY"] == "3"
    assert entry["SYSLOG_IDENTIFIER"] == "gateway"
    assert entry["GATEWAY_LOGGER"] == "gateway.acquire"
    assert entry["GATEWAY_DEVICE"] == "press\\nPRIORITY=0"
    assert entry["GATEWAY_READ_MS"] == "1.5"
    assert entry["CODE_FUNC"] == "test_the_journal_gets_native_fields"


def test_an_entry_too_large_for_a_datagram_goes_as_a_memory_file(
    journald: tuple[socket.socket, Path],
) -> None:
    server, path = journald
    logs.setup("info", "journal", environ={}, journal=path)
    many = {f"field_{i}": "z" * 3900 for i in range(200)}
    logging.getLogger("gateway.x").info("large", extra=many)
    data, ancillary, _, _ = server.recvmsg(65536, socket.CMSG_SPACE(4))
    assert data == b""
    descriptors = array.array("i", ancillary[0][2])
    with os.fdopen(descriptors[0], "rb") as file:
        file.seek(0)
        entry = entry_of(file.read())
    assert entry["MESSAGE"].startswith("large  field_0=z")
    assert entry["GATEWAY_EVENT"] == "large"
    assert entry["GATEWAY_FIELD_199"] == "z" * 3900


def test_a_journal_that_is_gone_is_no_error(tmp_path: Path) -> None:
    logs.setup("info", "journal", environ={}, journal=tmp_path / "nothing")
    logging.getLogger("gateway.x").info("unheard")


def test_the_journal_is_chosen_where_systemd_connects_the_stream_to_it(
    journald: tuple[socket.socket, Path], tmp_path: Path
) -> None:
    server, path = journald
    with (tmp_path / "stderr").open("w+") as stream:
        found = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        logs.setup(stream=stream, environ=environ, journal=path)
        logging.getLogger("gateway.x").info("hello")
        assert entry_of(server.recv(65536))["MESSAGE"] == "hello"
        logs.setup(stream=stream, environ={"JOURNAL_STREAM": "1:1"}, journal=path)
        logging.getLogger("gateway.x").info("elsewhere")
        stream.seek(0)
        assert "elsewhere" in stream.read()
