"""A stream from YAML to rows, without threads: blocks are fed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gateway.analysis.stream import StreamAnalysis
from gateway.config import Plant, load
from gateway.hub import Hub
from gateway.model import Array, Block, Row, Table, make_parts

RATE_HZ = 2560.0
BLOCK = 256
START_NS = 1_790_000_000 * 10**9

GATEWAY = """
gateway: {name: g}
state_dir: state
api: {socket: s}
sinks: {history: {type: sqlite}}
devices:
  plc: {driver: mock, map: plc.yaml}
  daq: {driver: mock, map: daq.yaml, labels: {machine: pump}}
"""

PLC = """
driver: mock
groups:
  process:
    interval_s: 1
    tags:
      speed_rpm: {type: real, unit: rpm}
      running: {type: bool}
"""


def plant_of(folder: Path, stream: str, gateway: str = GATEWAY) -> Plant:
    """The plant of a stream's map; ConfigError with its faults."""
    (folder / "gateway.yaml").write_text(gateway)
    (folder / "plc.yaml").write_text(PLC)
    (folder / "daq.yaml").write_text(stream)
    return load(folder / "gateway.yaml")


class Rig:
    """A plant whose stream is fed by hand; keeps the rows that were published."""

    def __init__(self, folder: Path, stream: str) -> None:
        self.plant = plant_of(folder, stream)
        self.hub = Hub()
        self.rows: list[Row] = []
        self.hub.attach(self)
        self.now_ns = START_NS
        self.plan = self.plant.streams["daq"]
        self.analysis = StreamAnalysis(self.plan, self.hub, now_ns=lambda: self.now_ns)
        self.first = 0

    def put(self, row: Row) -> None:
        """Take a published row."""
        self.rows.append(row)

    def feed(self, data: Array, gap: str | None = None, rate_hz: float = RATE_HZ) -> None:
        """Feed samples[channel, n] in blocks, the clock running with them."""
        for at in range(0, data.shape[1], BLOCK):
            piece = np.ascontiguousarray(data[:, at : at + BLOCK])
            block = Block(piece, self.first, rate_hz, gap, self.now_ns)
            self.first += piece.shape[1]
            self.now_ns += round(piece.shape[1] * 1e9 / rate_hz)
            self.analysis.feed(block)
            gap = None

    def table(self, channel: str, name: str = "vibration") -> list[dict[str, Any]]:
        """The published rows of a channel, as dicts with time, values and marks."""
        return [
            {
                "time_ns": row.time_ns,
                **dict(zip(row.table.columns, row.values(), strict=True)),
                "marks": {c: str(m) for c, _, m in row.items() if m},
            }
            for row in self.rows
            if row.table.channel == channel and row.table.name == name
        ]

    def tell_plc(self, speed_rpm: float, *, running: bool = True) -> None:
        """The PLC's newest row."""
        self.hub.publish(Row(self.plc, self.now_ns, make_parts(self.plc, (speed_rpm, running))))

    @property
    def plc(self) -> Table:
        """The table of the PLC's tags."""
        return self.plant.devices["plc"].groups[0].tables[0]


def sine(seconds: float, hz: float, amplitude: float, start_s: float = 0.0) -> Array:
    """A sine at the rate of the rig."""
    t = start_s + np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return amplitude * np.sin(2 * np.pi * hz * t)
