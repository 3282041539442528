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
from typing import Any, Literal, TypeVar

from gateway.driver import PolledDriver
from gateway.errors import DeviceUnavailable, GatewayError
from gateway.health import Heartbeats, Rolling
from gateway.model import ALL, Group, Mark, Quality, Row, bad_row

log = logging.getLogger("gateway.acquire")
T = TypeVar("T")

BACKOFF_S = (1.0, 30.0)
"""First and longest pause between two attempts to connect."""

BUG_PAUSE_S = 60.0
"""Pause after an exception that no driver should raise."""

State = Literal["connecting", "good", "lost", "disabled"]


class GroupClock:
    """When a group is due: a fixed grid on the monotonic clock, late ticks skipped and counted."""

    __slots__ = ("due", "group", "missed", "polls")

    def __init__(self, group: Group, first_due: float) -> None:
        self.group = group
        self.due = first_due
        self.polls = 0
        self.missed = 0

    def advance(self, now: float) -> None:
        """To the next tick that is not over yet."""
        interval = self.group.interval_s
        self.due += interval
        if now >= self.due:
            late = int((now - self.due) // interval) + 1
            self.missed += late
            self.due += late * interval


class DeviceState:
    """One device on its bus: what it does now, its schedule and its counters."""

    def __init__(self, driver: PolledDriver, enabled: bool, phase: float, start: float) -> None:
        self.driver = driver
        self.name = driver.name
        self.state: State = "connecting" if enabled else "disabled"
        self.reason = ""
        self.since = time.monotonic()
        self.clocks = [
            # staggered: groups of many devices shall not all be due in the same millisecond
            GroupClock(g, start + ((phase + i / len(driver.groups)) % 1.0) * g.interval_s)
            for i, g in enumerate(driver.groups)
        ]
        self.connects = 0
        self.polls = 0
        self.errors = 0
        self.lateness = Rolling()
        self.reading = Rolling()
        self.pause_s = 0.0
        self.attempted = not enabled
        """Whether the first round is done or has failed with a reason."""
        self.facts: dict[str, Any] = {}
        self.quarantined: list[tuple[str, str, str]] = []
        self.facts_at = 0.0

    def turn(self, state: State, reason: str = "") -> None:
        """Note a change of state."""
        if (state, reason) != (self.state, self.reason):
            self.since = time.monotonic()
        self.state, self.reason = state, reason

    def refresh(self, now: float) -> None:
        """Copy what others may read of the driver, at most once a second, in its own thread."""
        if now - self.facts_at >= 1.0:
            self.facts_at = now
            self.facts = self.driver.status()
            self.quarantined = self.driver.quarantined()


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
        self._queue: list[tuple[float, int, DeviceState, GroupClock | None]] = []
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
        """End soon: a call that blocks in a driver is freed by closing its socket."""
        self._stopping = True
        self._wake.set()
        for device in self.devices:
            device.driver.interrupt()

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
        return future

    # -- in the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        now = time.monotonic()
        for device in self.devices:
            if device.state != "disabled":
                self._push(now, device, None)
        try:
            while not self._stopping:
                self._turn()
        finally:
            for device in self.devices:
                device.driver.close()
            for _, future in self._calls:
                future.cancel()
            self._heartbeats.forget(self.name)

    def _turn(self) -> None:
        due = self._queue[0][0] if self._queue else time.monotonic() + 5.0
        pause = min(due - time.monotonic(), 5.0)
        slack = max((d.driver.config.timeout_s for d in self.devices), default=0.0)
        self._heartbeats.beat(self.name, max(pause, 0.0) + 4 * slack + 30.0)
        if pause > 0 and self._wake.wait(pause):
            self._wake.clear()
        self._serve_calls()
        if self._stopping or not self._queue or time.monotonic() < self._queue[0][0]:
            return
        _, _, device, clock = heapq.heappop(self._queue)
        if clock is None:
            self._connect(device)
        elif device.state == "good":
            self._poll(device, clock)

    def _push(self, due: float, device: DeviceState, clock: GroupClock | None) -> None:
        self._order += 1
        heapq.heappush(self._queue, (due, self._order, device, clock))

    def _serve_calls(self) -> None:
        while self._calls:
            work, future = self._calls.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except Exception as error:
                future.set_exception(error)

    def _connect(self, device: DeviceState) -> None:
        try:
            device.driver.connect()
        except DeviceUnavailable as error:
            self._lose(device, error.reason, error.detail)
            return
        except Exception as error:
            self._bug(device, error)
            return
        now = time.monotonic()
        was_lost = device.state == "lost"
        device.connects += 1
        device.turn("good")
        device.facts_at = 0.0
        for clock in device.clocks:
            self._poll(device, clock, on_grid=False)  # values at once, whatever the interval
            if device.state != "good":
                return
            if clock.due <= now:
                missed = clock.missed
                clock.advance(now)
                clock.missed = missed
            self._push(clock.due, device, clock)
        device.attempted = True
        if was_lost:
            log.warning("device is back", extra={"device": device.name})
        else:
            log.info("device connected", extra={"device": device.name})

    def _poll(self, device: DeviceState, clock: GroupClock, *, on_grid: bool = True) -> None:
        begun = time.monotonic()
        if on_grid:
            device.lateness.add(begun - clock.due)
        try:
            rows = device.driver.read(clock.group)
        except DeviceUnavailable as error:
            self._lose(device, error.reason, error.detail)
            return
        except Exception as error:
            self._bug(device, error)
            return
        mark = self._whole_mark()
        for row in rows:
            if mark is not None and (row.marks is None or ALL not in row.marks):
                row.marks = {**(row.marks or {}), ALL: mark}
            self._emit(row)
        now = time.monotonic()
        device.reading.add(now - begun)
        device.polls += 1
        clock.polls += 1
        device.pause_s = 0.0
        device.refresh(now)
        if on_grid:
            clock.advance(now)
            self._push(clock.due, device, clock)

    def _emit(self, row: Row) -> None:
        # two rows of one series and time would overwrite one another in the store
        last = self._last_ns.get(row.table, 0)
        if row.time_ns == last:
            row.time_ns += 1
        self._last_ns[row.table] = row.time_ns
        self._publish(row)

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
        device.driver.close()
        device.errors += 1
        if self._stopping:
            return
        if device.state != "lost":
            log.warning(
                "device lost",
                extra={"device": device.name, "reason": reason, "detail": detail},
            )
            for group in device.driver.groups:
                for table in group.tables:
                    self._emit(bad_row(table, time.time_ns(), reason))
        device.turn("lost", reason)
        device.attempted = True
        first, longest = BACKOFF_S
        device.pause_s = min(max(first, device.pause_s * 2), longest)
        wait = device.pause_s * self._random.uniform(0.8, 1.2) if pause_s is None else pause_s
        # what is still queued for this device belongs to the connection that is gone
        self._queue = [entry for entry in self._queue if entry[2] is not device]
        heapq.heapify(self._queue)
        self._push(time.monotonic() + wait, device, None)


def count_bad(row: Row) -> int:
    """How many columns of the row are BAD."""
    if row.marks is None:
        return 0
    whole = row.marks.get(ALL)
    if whole is not None and whole.quality is Quality.BAD:
        return len(row.table.columns)
    return sum(1 for i, mark in row.marks.items() if i != ALL and mark.quality is Quality.BAD)
