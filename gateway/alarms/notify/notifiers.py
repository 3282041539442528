"""All receivers of one gateway: what the engine tells, and what the status says of them."""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.alarms.model import Transition
from gateway.alarms.notify.channel import Channel, Retry
from gateway.alarms.notify.health import OnEvent
from gateway.alarms.notify.notifier import Notifier
from gateway.alarms.notify.recall import History
from gateway.alarms.notify.settings import NotifierConfig
from gateway.errors import GatewayError
from gateway.terminal import count

log = logging.getLogger("gateway.notify")

DROP_TOLD_S = 3600.0
"""So long a dropped message is a problem; it stays counted after that."""

_CHANNELS = {
    "webhook": ("gateway.alarms.notify.webhook", "WebhookChannel", ""),
    "mqtt": ("gateway.alarms.notify.mqtt", "MqttChannel", "mqtt"),
    "email": ("gateway.alarms.notify.mail", "EmailChannel", ""),
    "command": ("gateway.alarms.notify.command", "CommandChannel", ""),
    "journald": ("gateway.alarms.notify.journald", "JournaldChannel", ""),
}
"""Kind -> module, class, and the extra that it needs; loaded where a configuration names it."""


class Notifiers:
    """The receivers by name, each with a thread of its own. `put` never waits."""

    def __init__(
        self,
        configs: Mapping[str, NotifierConfig],
        gateway: str,
        state_dir: Path,
        *,
        history: History | None = None,
        on_event: OnEvent | None = None,
        retry: Retry | None = None,
    ) -> None:
        """Does no I/O; GatewayError where a kind needs an extra that is not installed.

        ``history``: `Alarms.history`, from which is read what was not sent before a restart.
        """
        self._gateway = gateway
        self._state_dir = state_dir
        self._history = history
        self._on_event = on_event
        self._retry = retry
        self._lock = threading.Lock()
        self._by_name = {name: self._make(name, config) for name, config in configs.items()}
        self._started = False

    def start(self) -> None:
        """Start the threads; what was not sent before the restart is looked for by them."""
        self._started = True
        for notifier in self._by_name.values():
            notifier.start()

    def put(self, transition: Transition) -> None:
        """Tell all who want to know: the listener of `Alarms.listen`. Also before `start`."""
        with self._lock:  # no transition may fall between two that are being exchanged
            for notifier in self._by_name.values():
                notifier.put(transition)

    def names(self) -> Sequence[str]:
        """Of all receivers."""
        return list(self._by_name)

    def test(self, name: str, who: str) -> None:
        """Send a test message through one, now. GatewayError where it does not get out."""
        notifier = self._by_name.get(name)
        if notifier is None:
            raise GatewayError(f"there is no notifier '{name}' any more")
        notifier.test(who)

    def status(self) -> dict[str, Any]:
        """Name -> type, state, error, waiting, sent, dropped...; no I/O."""
        return {name: notifier.status() for name, notifier in list(self._by_name.items())}

    def problems(self) -> list[str]:
        """What is wrong, in words for the status."""
        out = []
        for name, status in self.status().items():
            if status["error"] is not None:
                waiting = f"; {count(status['waiting'], 'message')} waiting"
                out.append(f"notifier {name}: {status['error']}{waiting}")
            elif (ago_s := status["last_dropped_s"]) is not None and ago_s < DROP_TOLD_S:
                said = ", ".join(f"{n:,} {cause}" for cause, n in status["dropped"].items())
                out.append(f"notifier {name}: dropped messages since the start: {said}")
        return out

    def exchange(self, configs: Mapping[str, NotifierConfig], stop_s: float) -> None:
        """Apply other settings: those that are the same go on; what waits is kept by its name.

        Blocks for ``stop_s`` at most, and a little. GatewayError, and nothing is changed, where
        a kind needs an extra that is not installed.
        """
        before = self._by_name
        changed = {n for n, config in configs.items() if n in before and before[n].config != config}
        fresh = {n: self._make(n, c) for n, c in configs.items() if n not in before or n in changed}
        gone = [notifier for n, notifier in before.items() if n in changed or n not in configs]
        with self._lock:
            self._by_name = {n: fresh.get(n) or before[n] for n in configs}
        _stop(gone, stop_s)
        left = {notifier.name: notifier.leftover() for notifier in gone}
        if self._started:
            for name, notifier in fresh.items():
                notifier.start(left.get(name, ()))

    def stop(self, stop_s: float) -> None:
        """Send what waits where it is taken, for so long at most; the rest after the restart."""
        _stop(list(self._by_name.values()), stop_s)
        for name, status in self.status().items():
            if status["waiting"]:
                extra = {"notifier": name, "messages": status["waiting"]}
                log.warning("messages wait for the next start", extra=extra)

    def _make(self, name: str, config: NotifierConfig) -> Notifier:
        return Notifier(
            name,
            config,
            make_channel(config),
            self._gateway,
            self._state_dir,
            history=self._history,
            on_event=self._on_event,
            retry=self._retry,
        )


def make_channel(config: NotifierConfig) -> Channel:
    """The way out of these settings. GatewayError says which extra is to be installed."""
    module, name, extra = _CHANNELS[config.type]
    try:
        made: Channel = getattr(importlib.import_module(module), name)(config)
    except ModuleNotFoundError as error:
        raise GatewayError(
            f"a notifier of type '{config.type}' needs: pip install 'edge-gateway[{extra}]' "
            f"(missing: {error.name})"
        ) from error
    return made


def _stop(notifiers: Iterable[Notifier], stop_s: float) -> None:
    """Let them end by themselves for half of the time, then cut what they have under way."""
    end = time.monotonic() + stop_s
    running = list(notifiers)
    for notifier in running:
        notifier.request_stop()
    half = end - stop_s / 2
    stuck = [n for n in running if not n.join(half - time.monotonic())]
    for notifier in stuck:
        notifier.interrupt()
    for notifier in stuck:
        notifier.join(max(0.1, end - time.monotonic()))
