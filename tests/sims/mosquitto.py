"""A real MQTT broker (mosquitto, from apt) on a free port, and what a subscriber hears of it."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from tests.support import free_port, need_program, until


class Broker:
    """mosquitto with a file of its own; it can be killed and started again."""

    def __init__(self, folder: Path, *lines: str, port: int = 0) -> None:
        self.port = port or free_port()
        self._folder = folder
        self._lines = lines
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = need_program("mosquitto", "mosquitto")
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / "mosquitto.conf"
        given = "\n".join(self._lines)
        allow = "" if "allow_anonymous" in given else "allow_anonymous true\n"
        # else it drops what a slow subscriber of a test has not fetched yet, from 1,000 on
        kept = "" if "max_queued" in given else "max_queued_messages 20000\n"
        file.write_text(f"listener {self.port} 127.0.0.1\nuser root\n{allow}{kept}{given}\n")
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-c", str(file)], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        until(self._listens, what="mosquitto's port")

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "mosquitto.log").read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def pause(self) -> None:
        """It does not answer any more (SIGSTOP)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as by a power cut."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@contextmanager
def broker(folder: Path, *lines: str, port: int = 0) -> Iterator[Broker]:
    """A running broker; ``lines`` of its configuration."""
    made = Broker(folder, *lines, port=port)
    made.start()
    try:
        yield made
    finally:
        made.kill()


@contextmanager
def heard(port: int, topic: str = "#", *, session: str = "") -> Iterator[Sequence[MQTTMessage]]:
    """What a subscriber hears in the block; it is there when the block begins.

    ``session``: a name, by which a broker that keeps it knows the subscriber again: then it hears
    what is published from the broker's start on.
    """
    messages: list[MQTTMessage] = []
    subscribed = threading.Event()

    def on_connect(client: Client, *_: Any) -> None:
        client.subscribe(topic, qos=1)

    def on_subscribe(_c: Client, _u: Any, _m: int, _r: list[ReasonCode], _p: Any) -> None:
        subscribed.set()

    client = Client(CallbackAPIVersion.VERSION2, session, clean_session=not session)
    client.on_connect = on_connect
    client.on_subscribe = on_subscribe
    client.on_message = lambda _c, _u, message: messages.append(message)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        assert subscribed.wait(10)
        yield messages
    finally:
        client.disconnect()
        client.loop_stop()
