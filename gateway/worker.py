"""The thread that drives devices: stop, calls from outside, backoff, marking tags BAD once on loss.

`gateway.acquire` polls with it, `gateway.streaming` streams.
"""

from __future__ import annotations

import logging
import random
import sys
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from gateway.device import DeviceState
from gateway.driver import Driver
from gateway.errors import DeviceUnavailable, GatewayError
from gateway.health import Heartbeats
from gateway.model import Mark, Row, bad_row

log = logging.getLogger("gateway.acquire")
T = TypeVar("T")

BACKOFF_S = (1.0, 30.0)
"""First and longest pause between two attempts to connect."""

BUG_PAUSE_S = 60.0
"""Pause after an exception that no driver should raise."""

BEAT_SLACK_S = 30.0

STACK_CALLS = 6
"""Calls that are shown of a thread that is stuck."""


class Worker(ABC):
    """One long-lived thread that owns some drivers. A driver is never called in parallel."""

    def __init__(
        self,
        name: str,
        devices: Sequence[Driver],
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
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._random = random.Random(name)
        self._thread = threading.Thread(target=self._run, name=f"bus {name}", daemon=True)

    # -- from other threads -------------------------------------------------------------------

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def request_stop(self) -> None:
        """End after the read that is under way."""
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

    def abandon(self) -> None:
        """It does not end: whatever its thread still does counts no more.

        What it reads later is of a cycle that was given up, and is never published.
        """
        self._stopping = True
        self._publish = lambda _: None
        self._heartbeats.forget(self.name)
        self._heartbeats = Heartbeats()

    def stack(self) -> str:
        """Where the thread is now, innermost call last; empty where it has ended."""
        frame = sys._current_frames().get(self._thread.ident or 0)  # noqa: SLF001 - the only way
        if frame is None:
            return ""
        calls = traceback.extract_stack(frame)[-STACK_CALLS:]
        return " > ".join(f"{Path(c.filename).name}:{c.lineno} {c.name}" for c in calls)

    def call(self, device: str, work: Callable[[Any], T]) -> Future[T]:
        """Run ``work`` with the device's driver in this thread, between two reads."""
        state = next(d for d in self.devices if d.name == device)

        def connected() -> T:
            if state.state == "disabled":
                how = state.reason or "disabled in the configuration"
                raise GatewayError(f"device '{device}' is {how}")
            if state.state != "good":
                raise DeviceUnavailable(
                    state.reason or "connecting", "the daemon has no connection"
                )
            try:
                return work(state.driver)
            except DeviceUnavailable as error:
                self._lose(state, error.reason, error.detail)
                raise

        return self._submit(connected)

    def switch(self, device: str, enabled: bool, reason: str) -> Future[None]:
        """Leave a device alone, or ask it again, from the next turn of this thread on."""
        state = next(d for d in self.devices if d.name == device)

        def switched() -> None:
            was_off = state.state == "disabled"
            if enabled and was_off:
                state.pause_s = 0.0
                state.turn("connecting")
                self._resume(state)
            elif not enabled:
                state.turn("disabled", reason)
                if not was_off:
                    self._rest(state)
                    self._close(state)
                    state.attempted = True
                    self._emit_bad(state, "disabled")

        return self._submit(switched)

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._calls.append((work, future))
        self._wake.set()
        if self._stopping or not self._thread.is_alive():
            self._refuse_calls()
        return future

    # -- in the thread ------------------------------------------------------------------------

    @abstractmethod
    def _run(self) -> None:
        """Read until the stop."""

    @abstractmethod
    def _lose(
        self, device: DeviceState, reason: str, detail: str, pause_s: float | None = None
    ) -> None:
        """Mark the device lost and try again later."""

    @abstractmethod
    def _rest(self, device: DeviceState) -> None:
        """Take it out of the schedule."""

    @abstractmethod
    def _resume(self, device: DeviceState) -> None:
        """Connect to it at once."""

    def _finish(self) -> None:
        for device in self.devices:
            self._close(device)
        self._refuse_calls()
        self._heartbeats.forget(self.name)

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

    def _emit(self, row: Row) -> None:
        # two rows of one series and time would overwrite one another in the store
        last = self._last_ns.get(row.table, 0)
        if 0 <= last - row.time_ns < 1_000_000:
            row.time_ns = last + 1
        self._last_ns[row.table] = row.time_ns
        self._publish(row)

    def _loss_ns(self) -> int:
        """Time of the rows that tell of a loss."""
        return time.time_ns()

    def _note_back(self, device: DeviceState, *, was_lost: bool) -> None:
        if was_lost:
            log.warning("device is back", extra={"device": device.name})
        else:
            log.info("device connected", extra={"device": device.name})

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

    def _mark_lost(
        self, device: DeviceState, reason: str, detail: str, pause_s: float | None
    ) -> float | None:
        """Close and mark every tag BAD once; seconds until the next attempt, None at a stop."""
        self._close(device)
        device.errors += 1
        if self._stopping:
            return None
        first, longest = BACKOFF_S
        device.pause_s = min(max(first, device.pause_s * 2), longest)
        wait_s = device.pause_s * self._random.uniform(0.8, 1.2) if pause_s is None else pause_s
        device.refresh(time.monotonic())
        first_loss = device.state != "lost"
        device.turn("lost", reason)
        if first_loss:
            log.warning(
                "device lost",
                extra={"device": device.name, "reason": reason, "detail": detail},
            )
            self._emit_bad(device, reason)
        device.attempted = True
        return wait_s

    def _emit_bad(self, device: DeviceState, reason: str) -> None:
        """Mark every tag BAD."""
        time_ns = self._loss_ns()
        for group in device.driver.groups:
            for table in group.tables:
                self._emit(bad_row(table, time_ns, reason))
