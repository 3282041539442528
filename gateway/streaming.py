"""Streams: one long-lived thread per device reads its blocks and gives them their time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from gateway.device import DeviceState
from gateway.driver import StreamDriver
from gateway.errors import DeviceUnavailable
from gateway.health import Heartbeats
from gateway.model import Block, Row
from gateway.sampleclock import SampleClock
from gateway.worker import BEAT_SLACK_S, Worker

log = logging.getLogger("gateway.acquire")


class BlockConsumer(Protocol):
    """What makes rows of blocks; used in the device's thread."""

    def feed(self, block: Block) -> None:
        """Take a block whose ``t0_ns`` is set."""

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
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(driver.name, [driver], publish, heartbeats)
        self._driver = driver
        self._device = self.devices[0]
        self._consumer = consumer
        self._on_event = on_event
        self._now_ns = now_ns
        self._clock = SampleClock()
        self._gap: str | None = None
        self._retry_at = 0.0
        self.gaps = 0

    def _run(self) -> None:
        while not self._stopping:
            try:
                if self._device.state == "disabled":
                    self._wait(5.0)
                elif self._device.state != "good":
                    self._connect()
                else:
                    self._read()
            except Exception as error:
                # a bug of ours: the device must not go unread because of it
                log.exception("fault in the thread of a stream", extra={"device": self.name})
                self._lose(self._device, "gateway_fault", repr(error))
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
        if block.gap is None and self._gap is not None:
            block.gap = self._gap
        self._gap = None
        if block.gap is not None:
            self._clock.restart()
        arrival_ns = self._now_ns()
        stamp = self._clock.stamp(block.first, block.samples, block.rate_hz, arrival_ns)
        if stamp.step_ns is not None:
            block.gap = block.gap or "clock_step"
            words = f"the wall clock stepped by {stamp.step_ns / 1e9:+.3f} s"
            self._on_event("clock_step", self.name, words)
            log.warning("clock step", extra={"device": self.name, "detail": words})
        if block.gap is not None:
            self.gaps += 1
            if stamp.step_ns is None and self._device.polls:
                detail = f"samples are missing before {stamp.t0_ns}"
                self._on_event("gap", self.name, f"{block.gap}: {detail}")
                log.warning("gap in a stream", extra={"device": self.name, "reason": block.gap})
        block.t0_ns = stamp.t0_ns
        self._device.polls += 1
        self._consumer.feed(block)

    def _lose(
        self, device: DeviceState, reason: str, detail: str, pause_s: float | None = None
    ) -> None:
        self._gap = reason
        self._consumer.lost()
        wait_s = self._mark_lost(device, reason, detail, pause_s)
        if wait_s is not None:
            self._retry_at = time.monotonic() + wait_s

    def status(self) -> dict[str, Any]:
        """What the status document tells of the stream."""
        drift_ppm = round(self._clock.drift * 1e6, 2)
        return {"gaps": self.gaps, "clock_drift_ppm": drift_ppm, **self._consumer.status()}
