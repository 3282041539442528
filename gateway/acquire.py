"""Acquisition: one long-lived thread per bus polls its devices on absolute deadlines.

The core's half of the driver contract lives here: schedule, backoff, reconnection, marking tags
BAD once on loss, one log line on loss and one on recovery. A driver is never called in parallel.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable, Sequence

from gateway import worker
from gateway.device import DeviceState, GroupClock
from gateway.driver import PolledDriver
from gateway.errors import DeviceUnavailable
from gateway.health import Heartbeats
from gateway.model import Mark, Row, marked
from gateway.worker import BEAT_SLACK_S, Worker

log = logging.getLogger("gateway.acquire")

CONNECT_SHARE = 0.25
"""Most of a bus's time that attempts to connect may take while other devices on it are good."""

Entry = tuple[float, int, DeviceState]


class BusWorker(Worker):
    """The thread of one bus."""

    def __init__(
        self,
        name: str,
        devices: Sequence[PolledDriver],
        publish: Callable[[Row], None],
        heartbeats: Heartbeats,
        *,
        phase: float = 0.0,
        whole_mark: Callable[[], Mark | None] = lambda: None,
    ) -> None:
        super().__init__(name, devices, publish, heartbeats, phase=phase, whole_mark=whole_mark)
        self._polls: list[tuple[float, int, DeviceState, GroupClock]] = []
        self._connects: list[Entry] = []
        self._connect_at = 0.0
        """No attempt to connect before this, for the sake of the devices that are good."""
        self._order = 0

    # -- in the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        now = time.monotonic()
        for device in self.devices:
            if device.state != "disabled":
                self._push_connect(now, device)
        while not self._stopping:
            try:
                self._turn()
            except Exception:
                # a bug of ours: no device may go unread because of it
                log.exception("fault in the thread of a bus", extra={"bus": self.name})
                self._requeue_forgotten()
                self._wake.wait(1.0)
        self._finish()

    def _turn(self) -> None:
        now = time.monotonic()
        due = min(
            self._polls[0][0] if self._polls else now + 5.0,
            max(self._connects[0][0], self._connect_at) if self._connects else now + 5.0,
        )
        pause = min(due - now, 5.0)
        if pause > 0:
            self._heartbeats.beat(self.name, pause + BEAT_SLACK_S)
            if self._wake.wait(pause):
                self._wake.clear()
        self._serve_calls()
        now = time.monotonic()
        if self._stopping:
            return
        # what is read already goes before what may only cost a time-out
        if self._polls and self._polls[0][0] <= now:
            _, _, device, clock = heapq.heappop(self._polls)
            if self._poll(device, clock):
                self._push_poll(device, clock)
        elif self._connects and max(self._connects[0][0], self._connect_at) <= now:
            _, _, device = heapq.heappop(self._connects)
            self._connect(device)
            if any(d.state == "good" for d in self.devices):
                took = time.monotonic() - now
                self._connect_at = time.monotonic() + took * (1 / CONNECT_SHARE - 1)

    def _push_poll(self, device: DeviceState, clock: GroupClock) -> None:
        self._order += 1
        heapq.heappush(self._polls, (clock.due, self._order, device, clock))

    def _push_connect(self, due: float, device: DeviceState) -> None:
        self._order += 1
        heapq.heappush(self._connects, (due, self._order, device))

    def _requeue_forgotten(self) -> None:
        waiting = {entry[2] for entry in self._connects} | {entry[2] for entry in self._polls}
        for device in self.devices:
            if device.state != "disabled" and device not in waiting:
                self._push_connect(time.monotonic() + worker.BUG_PAUSE_S, device)

    def _connect(self, device: DeviceState) -> None:
        timeout_s = device.driver.config.timeout_s
        self._heartbeats.beat(self.name, 4 * timeout_s + BEAT_SLACK_S)
        try:
            driver = _polled(device)
            driver.connect()
            requests = max((len(driver.plan(g)) for g in driver.groups), default=1)
            device.allowance_s = (requests + 6) * timeout_s  # 6: a first look at a serial unit
        except DeviceUnavailable as error:
            self._lose(device, error.reason, error.detail)
            return
        except Exception as error:
            self._bug(device, error)
            return
        # good only once it was read: behind a converter a dead unit lets itself be connected to
        for clock in device.clocks:
            if self._stopping or not self._poll(device, clock, on_grid=False):
                return
        was_lost = device.state == "lost"
        device.connects += 1
        device.turn("good")
        device.attempted = True
        now = time.monotonic()
        for clock in device.clocks:
            clock.start(now)
            self._push_poll(device, clock)
        self._note_back(device, was_lost=was_lost)

    def _poll(self, device: DeviceState, clock: GroupClock, *, on_grid: bool = True) -> bool:
        """Read a group and publish its rows; False if the device was lost."""
        begun = time.monotonic()
        self._heartbeats.beat(self.name, device.allowance_s + BEAT_SLACK_S)
        if on_grid:
            device.lateness.add(begun - clock.due)
        try:
            rows = _polled(device).read(clock.group)
            mark = self._whole_mark()
            for row in rows:
                self._emit(marked(row, mark))
            now = time.monotonic()
            device.refresh(now)
        except DeviceUnavailable as error:
            self._lose(device, error.reason, error.detail)
            return False
        except Exception as error:
            self._bug(device, error)
            return False
        device.reading.add(now - begun)
        device.polls += 1
        clock.polls += 1
        device.pause_s = 0.0
        if on_grid:
            clock.advance(now)
        return True

    def _lose(
        self, device: DeviceState, reason: str, detail: str, pause_s: float | None = None
    ) -> None:
        wait_s = self._mark_lost(device, reason, detail, pause_s)
        if wait_s is None:
            return
        self._rest(device)
        self._push_connect(time.monotonic() + wait_s, device)

    def _rest(self, device: DeviceState) -> None:
        # what is queued for this device belongs to the connection that is gone
        self._polls = [entry for entry in self._polls if entry[2] is not device]
        self._connects = [entry for entry in self._connects if entry[2] is not device]
        heapq.heapify(self._polls)
        heapq.heapify(self._connects)

    def _resume(self, device: DeviceState) -> None:
        self._push_connect(time.monotonic(), device)


def _polled(device: DeviceState) -> PolledDriver:
    driver = device.driver
    if not isinstance(driver, PolledDriver):
        raise TypeError(f"{device.name} is not polled")
    return driver
