"""Streams: one long-lived thread per device reads its blocks and gives them their time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from gateway import worker
from gateway.device import DeviceState
from gateway.driver import StreamDriver
from gateway.errors import DeviceUnavailable
from gateway.health import Heartbeats
from gateway.losses import Loss
from gateway.model import Block, Row
from gateway.sampleclock import STEP_NS, SampleClock
from gateway.worker import BEAT_SLACK_S, Worker

log = logging.getLogger("gateway.acquire")


class BlockConsumer(Protocol):
    """What makes rows of blocks; used in the device's thread."""

    def feed(self, block: Block) -> None:
        """Take a block whose ``t0_ns`` is set; DeviceUnavailable where it is of no use."""

    def lost(self) -> None:
        """The device is lost: what comes next does not go on from what was."""

    def status(self) -> dict[str, Any]:
        """What is known, for the status; from any thread, no I/O."""


class StreamWorker(Worker):
    """The thread of one device that streams."""

    def __init__(
        self,
        driver: StreamDriver,
        consumer: BlockConsumer,
        publish: Callable[[Row], None],
        heartbeats: Heartbeats,
        *,
        on_event: Callable[[str, str, str], None] = lambda *_: None,
        on_loss: Callable[[Loss], None] = lambda _: None,
        now_ns: Callable[[], int] = time.time_ns,
        elapsed_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        super().__init__(driver.name, [driver], publish, heartbeats)
        self._driver = driver
        self._device = self.devices[0]
        self._consumer = consumer
        self._on_event = on_event
        self._on_loss = on_loss
        self._now_ns = now_ns
        self._elapsed_ns = elapsed_ns
        self._clock = SampleClock()
        self._gap: str | None = None
        self._expected: tuple[int, float] | None = None
        """Number of the next sample and the rate, where the next block goes on."""
        self._retry_at = 0.0
        self.gaps = 0
        self.missing_s = 0.0
        """Time of which there are no samples, all gaps together."""

    def _run(self) -> None:
        while not self._stopping:
            try:
                if self._device.state == "disabled":
                    self._wait(5.0)
                elif self._device.state != "good":
                    self._connect()
                else:
                    self._read()
            except DeviceUnavailable as error:  # nothing can be made of its samples
                self._lose(self._device, error.reason, error.detail, worker.BUG_PAUSE_S)
            except Exception as error:
                # a bug of ours: the device must not go unread because of it
                log.exception("fault in the thread of a stream", extra={"device": self.name})
                pause_s = worker.BUG_PAUSE_S
                self._lose(self._device, "gateway_fault", repr(error), pause_s)
        self._finish()

    def _wait(self, seconds: float) -> None:
        self._heartbeats.beat(self.name, seconds + BEAT_SLACK_S)
        if self._wake.wait(seconds):
            self._wake.clear()
        self._serve_calls()

    def _connect(self) -> None:
        pause_s = self._retry_at - time.monotonic()
        if pause_s > 0:
            self._wait(min(5.0, pause_s))
            return
        self._heartbeats.beat(self.name, self._allowance_s() + BEAT_SLACK_S)
        try:
            self._driver.connect()
            if self._stopping:
                return  # an interrupt that came before there was a read does not free this one
            block = self._driver.read_block()
        except DeviceUnavailable as error:
            self._lose(self._device, error.reason, error.detail)
            return
        except Exception as error:
            self._bug(self._device, error)
            return
        was_lost = self._device.state == "lost"
        self._device.connects += 1
        self._device.turn("good")
        self._device.pause_s = 0.0
        self._take(block)
        self._device.attempted = True
        self._note_back(self._device, was_lost=was_lost)

    def _allowance_s(self) -> float:
        config = self._driver.config
        return 4 * config.timeout_s + self._driver.stream.block_s

    def _read(self) -> None:
        begun = time.monotonic()
        self._heartbeats.beat(self.name, self._allowance_s() + BEAT_SLACK_S)
        try:
            block = self._driver.read_block()
        except DeviceUnavailable as error:
            self._lose(self._device, error.reason, error.detail)
            return
        except Exception as error:
            self._bug(self._device, error)
            return
        now = time.monotonic()
        self._device.reading.add(now - begun)
        self._take(block)
        self._device.refresh(now)
        if self._calls:
            self._serve_calls()

    def _take(self, block: Block) -> None:
        """Give the block its time and hand it on."""
        if block.gap is None:
            block.gap = self._gap or self._break_before(block)
        self._gap = None
        self._expected = block.first + block.samples, block.rate_hz
        if block.gap is not None:
            self._clock.restart()
        ended_ns, elapsed_ns = self._clock.end_ns, self._elapsed_ns()
        arrival_ns = self._now_ns()
        stamp = self._clock.stamp(block.first, block.samples, block.rate_hz, arrival_ns, elapsed_ns)
        if block.gap is not None:
            self._note_gap(block.gap, stamp.t0_ns, ended_ns)
        if stamp.step_ns is not None:
            words = f"the time of samples steps by {stamp.step_ns / 1e9:+.3f} s to the wall clock"
            self._on_event("clock_step", self.name, words)
            log.warning("clock step", extra={"device": self.name, "detail": words})
            self.gaps += block.gap is None
            block.gap = block.gap or "clock_step"
        block.t0_ns = stamp.t0_ns
        self._device.polls += 1
        self._consumer.feed(block)

    def _break_before(self, block: Block) -> str | None:
        """Why a block cannot go on from the one before, though the driver tells of no gap."""
        if self._expected is None or self._expected == (block.first, block.rate_hz):
            return None
        return "samples_missing" if self._expected[1] == block.rate_hz else "rate_changed"

    def _note_gap(self, reason: str, t0_ns: int, ended_ns: int | None) -> None:
        self.gaps += 1
        if ended_ns is None:
            return  # nothing was before it
        missing_s = max(0, t0_ns - ended_ns) / 1e9
        self.missing_s += missing_s
        self._on_event("gap", self.name, f"{reason}: no samples for {missing_s:.3f} s")
        extra = {"device": self.name, "reason": reason, "missing_s": round(missing_s, 3)}
        log.warning("gap in a stream", extra=extra)
        for group in self._driver.groups if missing_s else ():
            rows = len(group.tables) * max(1, round(missing_s / group.interval_s))
            detail = f"{reason}: no samples for {missing_s:.3f} s"
            span = (ended_ns, t0_ns, rows)
            self._on_loss(Loss("", self.name, group.name, *span, "stream_gap", detail))

    def _loss_ns(self) -> int:
        # not before the last sample, though the wall clock may be a little behind
        now_ns, ended_ns = self._now_ns(), self._clock.end_ns
        return ended_ns if ended_ns and 0 < ended_ns - now_ns < STEP_NS else now_ns

    def _lose(
        self, device: DeviceState, reason: str, detail: str, pause_s: float | None = None
    ) -> None:
        self._gap = reason
        self._consumer.lost()
        wait_s = self._mark_lost(device, reason, detail, pause_s)
        if wait_s is not None:
            self._retry_at = time.monotonic() + wait_s

    def _rest(self, device: DeviceState) -> None:
        self._gap = "disabled"
        self._consumer.lost()

    def _resume(self, device: DeviceState) -> None:
        self._retry_at = 0.0

    def status(self) -> dict[str, Any]:
        """What the status document tells of the stream."""
        drift_ppm = round(self._clock.drift * 1e6, 2)
        return {
            "gaps": self.gaps,
            "missing_s": round(self.missing_s, 3),
            "clock_drift_ppm": drift_ppm,
            **self._consumer.status(),
        }
