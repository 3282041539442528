"""Acquisition: one long-lived thread per bus polls its devices on absolute deadlines.

The core's half of the driver contract lives here: schedule, backoff, reconnection, marking tags
BAD once on loss, one log line on loss and one on recovery. A driver is never called in parallel.
"""

from __future__ import annotations

import heapq
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from gateway.device import DeviceState, GroupClock
from gateway.driver import PolledDriver
from gateway.errors import DeviceUnavailable, GatewayError
from gateway.health import Heartbeats
from gateway.model import ALL, Mark, Row, bad_row

log = logging.getLogger("gateway.acquire")
T = TypeVar("T")

BACKOFF_S = (1.0, 30.0)
"""First and longest pause between two attempts to connect."""

BUG_PAUSE_S = 60.0
"""Pause after an exception that no driver should raise."""

CONNECT_SHARE = 0.25
"""Most of a bus's time that attempts to connect may take while other devices on it are good."""

BEAT_SLACK_S = 30.0

Entry = tuple[float, int, DeviceState]


class BusWorker:
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
        self.name = name
        start = time.monotonic()
        share = 1.0 / max(1, len(devices))
        self.devices = [
            DeviceState(d, d.config.enabled, phase + i * share, start)
            for i, d in enumerate(devices)
        ]
        self._publish = publish
        self._heartbeats = heartbeats
        self._whole_mark = whole_mark
        self._last_ns: dict[Any, int] = {}
        self._polls: list[tuple[float, int, DeviceState, GroupClock]] = []
        self._connects: list[Entry] = []
        self._connect_at = 0.0
        """No attempt to connect before this, for the sake of the devices that are good."""
        self._order = 0
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._random = random.Random(name)
        self._thread = threading.Thread(target=self._run, name=f"bus {name}", daemon=True)

    # -- from other threads -------------------------------------------------------------------

    def start(self) -> None:
        """Begin to poll."""
        self._thread.start()

    def request_stop(self) -> None:
        """End after the poll that is under way."""
        self._stopping = True
        self._wake.set()

    def interrupt(self) -> None:
        """Free a call that blocks in a driver, by closing its socket. Never raises."""
        for device in self.devices:
            try:
                device.driver.interrupt()
            except Exception:
                log.exception("interrupt failed", extra={"device": device.name})

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the thread, if it was started; False if it has not ended."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def call(self, device: str, work: Callable[[PolledDriver], T]) -> Future[T]:
        """Run ``work`` with the device's driver in this thread, between two polls."""
        state = next(d for d in self.devices if d.name == device)

        def connected() -> T:
            if state.state == "disabled":
                raise GatewayError(f"device '{device}' is disabled in the configuration")
            if state.state != "good":
                raise DeviceUnavailable(
                    state.reason or "connecting", "the daemon has no connection"
                )
            try:
                return work(state.driver)
            except DeviceUnavailable as error:
                self._lose(state, error.reason, error.detail)
                raise

        future: Future[T] = Future()
        self._calls.append((connected, future))
        self._wake.set()
        if self._stopping or not self._thread.is_alive():
            self._refuse_calls()
        return future

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
        for device in self.devices:
            self._close(device)
        self._refuse_calls()
        self._heartbeats.forget(self.name)

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
                self._push_connect(time.monotonic() + BUG_PAUSE_S, device)

    def _serve_calls(self) -> None:
        while self._calls:
            work, future = self._calls.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            self._heartbeats.beat(self.name, self._allowance_s() + BEAT_SLACK_S)
            try:
                future.set_result(work())
            except Exception as error:
                future.set_exception(error)

    def _allowance_s(self) -> float:
        return max((d.allowance_s for d in self.devices), default=0.0)

    def _refuse_calls(self) -> None:
        while self._calls:
            _, future = self._calls.popleft()
            if future.set_running_or_notify_cancel():
                future.set_exception(DeviceUnavailable("stopping", "the gateway is stopping"))

    def _connect(self, device: DeviceState) -> None:
        timeout_s = device.driver.config.timeout_s
        self._heartbeats.beat(self.name, 4 * timeout_s + BEAT_SLACK_S)
        try:
            device.driver.connect()
            groups = device.driver.groups
            requests = max((len(device.driver.plan(g)) for g in groups), default=1)
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
        if was_lost:
            log.warning("device is back", extra={"device": device.name})
        else:
            log.info("device connected", extra={"device": device.name})

    def _poll(self, device: DeviceState, clock: GroupClock, *, on_grid: bool = True) -> bool:
        """Read a group and publish its rows; False if the device was lost."""
        begun = time.monotonic()
        self._heartbeats.beat(self.name, device.allowance_s + BEAT_SLACK_S)
        if on_grid:
            device.lateness.add(begun - clock.due)
        try:
            rows = device.driver.read(clock.group)
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

    def _emit(self, row: Row) -> None:
        # two rows of one series and time would overwrite one another in the store
        last = self._last_ns.get(row.table, 0)
        if 0 <= last - row.time_ns < 1_000_000:
            row.time_ns = last + 1
        self._last_ns[row.table] = row.time_ns
        self._publish(row)

    def _close(self, device: DeviceState) -> None:
        try:
            device.driver.close()
        except Exception:
            log.exception("close failed; a bug of the driver", extra={"device": device.name})

    def _bug(self, device: DeviceState, error: Exception) -> None:
        log.error(
            "the driver failed unexpectedly; this is a bug of the driver",
            exc_info=error,
            extra={"device": device.name},
        )
        self._lose(device, "driver_fault", repr(error), pause_s=BUG_PAUSE_S)

    def _lose(
        self, device: DeviceState, reason: str, detail: str, pause_s: float | None = None
    ) -> None:
        """Close, mark every tag BAD once, and try again later."""
        self._close(device)
        device.errors += 1
        if self._stopping:
            return
        # what is queued for this device belongs to the connection that is gone
        self._polls = [entry for entry in self._polls if entry[2] is not device]
        heapq.heapify(self._polls)
        first, longest = BACKOFF_S
        device.pause_s = min(max(first, device.pause_s * 2), longest)
        wait = device.pause_s * self._random.uniform(0.8, 1.2) if pause_s is None else pause_s
        self._push_connect(time.monotonic() + wait, device)
        device.refresh(time.monotonic())
        first_loss = device.state != "lost"
        device.turn("lost", reason)
        if first_loss:
            log.warning(
                "device lost",
                extra={"device": device.name, "reason": reason, "detail": detail},
            )
            for group in device.driver.groups:
                for table in group.tables:
                    self._emit(bad_row(table, time.time_ns(), reason))
        device.attempted = True


def marked(row: Row, mark: Mark | None) -> Row:
    """The row, with a mark for all its columns where there is one and it has none yet."""
    if mark is not None and (row.marks is None or ALL not in row.marks):
        row.marks = {**(row.marks or {}), ALL: mark}
    return row
