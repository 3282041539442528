"""Each sink: does it take our data, and for how long does the disk hold what it does not take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.commands.checks.report import Check, Question
from gateway.config import Plant
from gateway.errors import GatewayError, SinkUnavailable
from gateway.sinks import DurableSink, RemoteSink, SinkConfig, find_sink
from gateway.terminal import count, duration, number, size

SHORT_S = 8 * 3600.0
"""A spool that holds less than a shift is worth a word."""

_WORDS = (
    ("401", "the token is not known: write a valid one into the token's file"),
    ("unauthorized", "the token is not known, or may not write to this bucket"),
    ("403", "the token may not write there: give it write permission for this bucket"),
    ("404", "is the bucket's name right, and the organisation's? is it an InfluxDB 2 at this url?"),
    ("wrongpass", "user or password is wrong"),
    ("noauth", "it asks for a password: set user and password_file"),
    ("authentication failed", "user or password is wrong"),
    ("gateway db upgrade", "run: gateway db upgrade FILE"),
    ("does not exist", "is the name of the database right?"),
    ("certificate", "is its certificate valid for this name? set ca_file where it is your own CA"),
    ("cannot connect", "does it run, is the address right, and does a firewall let it through?"),
    ("refused", "does it run, and is the port right?"),
    ("no answer", "it is there, but too slow or stopped: look at its own log"),
)


def running(document: Mapping[str, Any]) -> Iterator[tuple[str, Check | None]]:
    """(name, finding) of each sink of the running gateway; None where it does not know yet."""
    for name, sink in document["sinks"].items():
        title = f"sink {name}"
        waiting = f"; {count(sink['pending_rows'], 'row')} wait" if sink["pending_rows"] else ""
        if sink["state"] != "good":
            words = str(sink["error"] or sink["state"])
            yield name, Check(title, "FAIL", f"stores nothing: {words}{waiting}", advice(words))
        elif sink["last_stored_s"] is None:
            yield name, None
        elif sink.get("dead_letters"):
            found = f"stores; {count(sink['dead_letters'], 'row')} refused for good"
            yield name, Check(title, "WARN", found, "why: gateway dead-letters list")
        else:
            ago = duration(float(sink["last_stored_s"]))
            yield name, Check(title, "OK", f"stored something {ago} ago{waiting}")


def alone(plant: Plant, names: set[str]) -> Iterator[Question]:
    """One question for each of these sinks, asked with the gateway's own credentials."""
    for name, config in plant.sinks.items():
        if name in names:
            yield Question(f"sink {name}", _asker(name, config, plant.state_dir))


def _asker(name: str, config: SinkConfig, state_dir: Path) -> Any:
    return lambda: [ask(name, config, state_dir)]


def ask(name: str, config: SinkConfig, state_dir: Path) -> Check:
    """Whether it would take data; nothing is stored."""
    title = f"sink {name}"
    sink = find_sink(config.type)(name, config, state_dir)
    where = str(getattr(config, "url", None) or getattr(config, "host", ""))
    try:
        if isinstance(sink, DurableSink):
            return Check(title, "OK", f"{config.type}, a file on this disk")
        if isinstance(sink, RemoteSink) and sink.check():
            return Check(title, "OK", f"{where} answers and takes our data")
        return Check(title, "OK", f"{where}: not asked; its first batch will tell")
    except GatewayError as error:
        words = str(error)
        kept = "" if isinstance(error, SinkUnavailable) else "refused: "
        return Check(title, "FAIL", f"{where}: {kept}{words}", advice(words))
    finally:
        sink.close()


def advice(words: str) -> str:
    """What to do about what a sink says."""
    small = words.lower()
    found = (todo for sign, todo in _WORDS if sign in small)
    return next(found, "nothing is lost: the data waits on disk until it takes it")


def spool_time(name: str, max_bytes: int, bytes_per_s: float, used_bytes: int, how: str) -> Check:
    """For how long the spool of one sink takes all rows; ``how``: where the rate comes from."""
    title = f"spool {name}"
    if bytes_per_s <= 0:
        return Check(title, "OK", f"{size(max_bytes)}; nothing comes in now ({how})")
    whole_s = max_bytes / bytes_per_s
    left_s = max(0.0, max_bytes - used_bytes) / bytes_per_s
    found = (
        f"an outage of {duration(whole_s)} fits into {size(max_bytes)}, at "
        f"{size(bytes_per_s)}/s {how}"
    )
    if used_bytes > 0.01 * max_bytes:
        found += f"; {duration(left_s)} of it left now"
    if left_s < SHORT_S:
        todo = (
            "then the oldest rows are lost: raise spool.max_bytes, poll less often, or give tags a "
            f"deadband; {number(SHORT_S / 3600)} h need {size(SHORT_S * bytes_per_s)}"
        )
        return Check(title, "WARN", found, todo)
    return Check(title, "OK", found)
