"""`gateway read` of a device that streams: the first window of each channel."""

from __future__ import annotations

import time

from gateway.analysis.plan import StreamPlan
from gateway.driver import StreamDriver
from gateway.errors import DeviceUnavailable, GatewayError
from gateway.hub import Hub
from gateway.model import Row
from gateway.streams import Streams


def read_stream(driver: StreamDriver, plan: StreamPlan) -> list[Row]:
    """Connect, stream until every table has a row, and close.

    GatewayError where the device does not answer, or a gap keeps the window from filling.
    """
    hub = Hub()
    consumer = Streams({driver.name: plan}, hub).consumer(driver.name)
    deadline = time.monotonic() + 3 * plan.window_s + 2 * driver.config.timeout_s + 1.0
    try:
        driver.connect()
        while time.monotonic() < deadline:
            block = driver.read_block()
            block.t0_ns = time.time_ns() - round(block.samples * 1e9 / block.rate_hz)
            consumer.feed(block)
            rows = [hub.latest.get(table) for table in plan.tables]
            found = [row for row in rows if row is not None and not row.all_bad]
            if len(found) == len(rows) or (found and plan.states is not None):
                return found
    except DeviceUnavailable as error:
        raise GatewayError(f"device '{driver.name}' cannot be read: {error}") from error
    finally:
        driver.close()
    bad = [row for table in plan.tables if (row := hub.latest.get(table)) is not None]
    if bad:
        return bad
    raise GatewayError(f"device '{driver.name}': no window was complete")
