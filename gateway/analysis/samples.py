"""Slow channels (thermocouples, RTDs): every sample becomes a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gateway.analysis.plan import StreamPlan
from gateway.analysis.sensors import CLIPPED_FROM
from gateway.hub import Hub
from gateway.model import Block, Mark, Quality, Row, bad, bad_row, marked

NOT_FINITE = bad("not_finite")
AT_FULL_SCALE = Mark(Quality.UNCERTAIN, "clipped")
GAP_BEFORE_NS = 1_000_000


class SampleRows:
    """Takes the blocks of a device in its thread; publishes a row a sample."""

    def __init__(
        self, plan: StreamPlan, hub: Hub, whole_mark: Callable[[], Mark | None] = lambda: None
    ) -> None:
        if plan.samples is None:
            raise ValueError("the plan has no table of samples")
        self.plan = plan
        self._hub = hub
        self._whole_mark = whole_mark
        self._table = plan.samples
        scale = [np.inf if c.full_scale is None else c.full_scale for c in plan.channels]
        self._limit = CLIPPED_FROM * np.array(scale)
        self._rate_hz = plan.rate_hz

    def status(self) -> dict[str, Any]:
        """What is known of it."""
        return {"channels": len(self.plan.channels), "rate_hz": self._rate_hz}

    def feed(self, block: Block) -> None:
        """Take a block whose ``t0_ns`` is set."""
        self._rate_hz = block.rate_hz
        period_ns = 1e9 / block.rate_hz
        if block.gap is not None:
            # between the last sample and the next, and not before the row that told of a loss
            self._hub.publish(bad_row(self._table, block.t0_ns - GAP_BEFORE_NS, block.gap))
        mark = self._whole_mark()
        values = np.ascontiguousarray(block.data.T, np.float32)
        for at, sample in enumerate(values):
            marks: dict[int, Mark] = {}
            for index in np.flatnonzero(~(np.abs(sample) < self._limit)).tolist():
                marks[index] = AT_FULL_SCALE if np.isfinite(sample[index]) else NOT_FINITE
            time_ns = block.t0_ns + round(at * period_ns)
            self._hub.publish(marked(Row(self._table, time_ns, (sample,), marks), mark))

    def lost(self) -> None:
        """The device is lost; its table was marked BAD already."""
