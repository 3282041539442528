"""Stored waveforms into the table ``raw_window``: what `gateway capture` and alarms have kept."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gateway.errors import GatewayError
from gateway.recordings import read_recording
from gateway.sinks.postgres.arrays import clean
from gateway.sinks.postgres.client import connect, translated
from gateway.sinks.postgres.schema import expect_schema
from gateway.sinks.postgres.settings import PostgresConfig

MAX_SAMPLES = 50_000_000
"""Of one window: 200 MB as float32."""


class Window(NamedTuple):
    """A run of samples of one channel."""

    device: str
    channel: str
    t0_ns: int
    """Time of the first sample."""
    rate_hz: float
    unit: str | None
    data: bytes
    """The samples as float32, little endian."""


def read_window(path: Path) -> Window:
    """A window from its file. GatewayError where it does not say device, channel and time."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = list(arrays.files)
            meta: dict[str, Any] = json.loads(str(arrays["meta"].item()))
        device, channel = str(meta["device"]), str(meta["channel"])
        t0_ns = int(meta["t0_ns"] if "t0_ns" in meta else meta["first_ns"])
    except FileNotFoundError as error:
        raise GatewayError(f"{path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile) as error:
        text = f"{path} is no window of a gateway; expected what `gateway capture` writes"
        raise GatewayError(text) from error
    stored = f"{channel}_samples"
    found = read_recording(path, stored if stored in names else channel)
    if len(found.data) > MAX_SAMPLES:
        raise GatewayError(f"{path} has {len(found.data):,} samples; at most {MAX_SAMPLES:,}")
    data = np.ascontiguousarray(found.data, "<f4").tobytes()
    return Window(device, channel, t0_ns, found.rate_hz, found.unit, data)


def store_windows(config: PostgresConfig, gateway: str, windows: Iterable[Window]) -> int:
    """Store them; one that is there already stays as it is. How many are new."""
    new = 0
    db = connect(config, "gateway db")
    try:
        with translated():
            expect_schema(db)
            for window in windows:
                cursor = db.execute(
                    "INSERT INTO raw_window"
                    " (gateway, device, channel, t0_ns, rate_hz, samples, unit, data)"
                    " VALUES (%s, %s, %s, %s, %s, %s, %s, %b) ON CONFLICT DO NOTHING",
                    (
                        clean(gateway),
                        clean(window.device),
                        clean(window.channel),
                        window.t0_ns,
                        window.rate_hz,
                        len(window.data) // 4,
                        None if window.unit is None else clean(window.unit),
                        window.data,
                    ),
                )
                new += cursor.rowcount
    finally:
        db.close()
    return new
