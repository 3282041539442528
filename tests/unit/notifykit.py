"""Transitions, notifiers that try again quickly, and certificates for the servers they talk to."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.alarms.model import Severity, State, Transition
from gateway.alarms.notify import KINDS, NotifierConfig, Notifiers
from gateway.alarms.notify.channel import Retry
from gateway.alarms.notify.notice import Notice
from tests.support import need_program, until

FAST = Retry(first_s=0.02, max_s=0.1, operator_s=0.05)


def transition(number: int = 1, **more: Any) -> Transition:
    """An alarm that was raised just now."""
    given: dict[str, Any] = {
        "number": number,
        "time_ns": time.time_ns(),
        "device": "press_1",
        "alarm": "force.high",
        "severity": Severity.HIGH,
        "from_state": State.NORMAL,
        "state": State.UNACKNOWLEDGED,
        "condition": "high",
        "message": f"force is {number} kN",
        "value": 12.5,
        "limit": 10.0,
        "unit": "kN",
    }
    return Transition(**{**given, **more})


def notice(number: int = 1, **more: Any) -> Notice:
    return Notice(transition(number, **more), "hall-3")


def config(type: str, **keys: Any) -> Any:
    """Settings of a kind, as a file gives them."""
    return KINDS[type].model_validate({"type": type, **keys})


@dataclass
class Running:
    """Notifiers that run, and the events that they told."""

    notifiers: Notifiers
    events: list[tuple[str, str, str]] = field(default_factory=list)

    def status(self, name: str = "one") -> dict[str, Any]:
        status: dict[str, Any] = self.notifiers.status()[name]
        return status

    def put(self, *numbers: int) -> None:
        for number in numbers:
            self.notifiers.put(transition(number))

    def wait_sent(self, how_many: int, name: str = "one") -> dict[str, Any]:
        until(lambda: self.status(name)["sent"] >= how_many, 15, f"{how_many} sent")
        return self.status(name)

    def wait_error(self, words: str, name: str = "one") -> dict[str, Any]:
        until(lambda: words in (self.status(name)["error"] or ""), 15, f"the error '{words}'")
        return self.status(name)


@contextmanager
def running(
    state_dir: Path, *, stop_s: float = 2.0, history: Any = None, **configs: NotifierConfig
) -> Iterator[Running]:
    """Notifiers by name for the length of the block; they must end in time."""
    events: list[tuple[str, str, str]] = []
    notifiers = Notifiers(
        configs,
        "hall-3",
        state_dir,
        history=history,
        on_event=lambda *event: events.append(event),
        retry=FAST,
    )
    notifiers.start()
    try:
        yield Running(notifiers, events)
    finally:
        begun = time.monotonic()
        notifiers.stop(stop_s)
        took_s = time.monotonic() - begun
        assert took_s < stop_s + 10, f"the stop took {took_s:.1f} s"


@dataclass(frozen=True)
class Certificates:
    """Files of an authority and of a server at 127.0.0.1, and an authority that signed nothing."""

    ca: Path
    cert: Path
    key: Path
    other_ca: Path


def make_certificates(folder: Path) -> Certificates:
    folder.mkdir(exist_ok=True)
    for name in ("ca", "other"):
        _openssl(
            folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-days", "2", "-subj", f"/CN=test {name}", "-keyout", f"{name}.key",
            "-out", f"{name}.pem", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip
    _openssl(
        folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-subj", "/CN=server", "-keyout", "server.key", "-out", "server.csr",
    )  # fmt: skip
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
    _openssl(
        folder, "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
        "-CAcreateserial", "-days", "2", "-extfile", "ext", "-out", "server.pem",
    )  # fmt: skip
    (folder / "server.key").chmod(0o644)  # for servers that give up root
    names = ("ca.pem", "server.pem", "server.key", "other.pem")
    return Certificates(*(folder / name for name in names))


def _openssl(folder: Path, *arguments: str) -> None:
    command: Sequence[str] = (need_program("openssl", "openssl"), *arguments)
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=30)
