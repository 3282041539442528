"""(b) The daemon under the loads on which other gateways were measured, every row to InfluxDB.

One gateway process, the InfluxDB sink on, every batch on disk before it is sent. Peers: the C
library's S7 server with all values moving every 50 ms, libmodbus, VictoriaMetrics as the server.
"""

from __future__ import annotations

import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.bench.daemon import running, status
from tests.bench.measure import Usage, watch
from tests.sims.influx_peer import VictoriaPeer
from tests.sims.modbus_peer import ModbusPeer
from tests.sims.s7_peer import S7Peer
from tests.support import until

WARM_UP_S = 6.0


class Load(NamedTuple):
    """Devices of so many tags, polled every so often; and what others needed for it."""

    name: str
    driver: str
    devices: int
    tags: int
    interval_s: float
    node_red: str
    prototype: str


LOADS = (
    Load("10,000 S7 tags at 1 s", "s7", 1, 10_000, 1.0, "5.7 % / 197 MB", "0.8 % / 79 MB"),
    Load("1,000 S7 tags at 100 ms", "s7", 1, 1_000, 0.1, "7.2 % / 140 MB", "1.3 % / 78 MB"),
    Load("60,000 S7 tags at 1 s, 4 PLCs", "s7", 4, 15_000, 1.0, "35.5 % / 568 MB", "3.2 % / 90 MB"),
    Load("10,000 registers at 1 s", "modbus", 1, 10_000, 1.0, "11.5 % / 142 MB", "1.5 % / 80 MB"),
)


class Result(NamedTuple):
    """What one run cost and delivered."""

    load: Load
    usage: Usage
    lateness_ms: dict[str, float]
    skipped: int
    polls: int
    stored: int


def write_config(folder: Path, load: Load, port: int, url: str) -> Path:
    """The files of a gateway that has this load."""
    s7 = load.driver == "s7"
    address = "DB{{db}}.DBD{0}', type: real" if s7 else "holding:{0}', type: uint16"
    tag = "{{address: '" + address + "}}"
    step = 4 if s7 else 1
    tags = "".join(f"      T{i:05d}: {tag.format(i * step)}\n" for i in range(load.tags))
    (folder / "map.yaml").write_text(
        f"driver: {load.driver}\ngroups:\n  load:\n    interval_s: {load.interval_s}\n"
        f"    tags:\n{tags}"
    )
    more = ", with: {{db: {}}}" if s7 else ""
    devices = "".join(
        f"  plc_{i}: {{driver: {load.driver}, host: 127.0.0.1, port: {port}, map: map.yaml"
        f"{more.format(i + 1)}}}\n"
        for i in range(load.devices)
    )
    file = folder / "gateway.yaml"
    file.write_text(
        "gateway: {name: bench}\nstate_dir: state\napi: {socket: s}\n"
        f"sinks: {{influx: {{type: influxdb, url: '{url}', org: o, bucket: b}}}}\n"
        f"devices:\n{devices}"
    )
    return file


def run(load: Load, seconds: float) -> Result:
    """Run one load for that long after the warm-up."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        server = VictoriaPeer(folder / "store")
        (folder / "store").mkdir()
        server.start()
        stack.callback(server.kill)
        if load.driver == "s7":
            peer = stack.enter_context(S7Peer())
            for number in range(1, load.devices + 1):
                peer.db(number, 4 * load.tags)
                peer.move(number, "ramp")
            port = peer.port
        else:
            port = stack.enter_context(ModbusPeer("tcp", 0)).port
        file = write_config(folder, load, port, server.url)
        gateway = stack.enter_context(running(file, 1))
        watch(gateway.pid, WARM_UP_S)
        usage = watch(gateway.pid, seconds)
        told = status(folder)
        assert told is not None
        devices = told["devices"].values()
        gateway.send_signal(signal.SIGTERM)
        gateway.wait(30)
        polls = sum(d["polls"] for d in devices)

        def stored() -> int:
            return sum(len(points) for points in server.export('{__name__=~".*_T00000"}').values())

        until(lambda: stored() >= polls, 5, "rows in the store")
        worst = max(devices, key=lambda d: d["lateness_ms"]["p99"])
        skipped = sum(d["late_ticks"] for d in devices)
        return Result(load, usage, worst["lateness_ms"], skipped, polls, stored())


def table(seconds: float = 20.0) -> list[str]:
    """All loads as lines of a Markdown table."""
    lines = [
        "| load | CPU of one core | RSS | poll lateness p50 / p99 | polls skipped | rows lost "
        "| prototype | Node-RED |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for load in LOADS:
        r = run(load, seconds)
        lines.append(
            f"| {load.name} | **{r.usage.cpu_percent:.1f} %** | {r.usage.rss_mib:.0f} MiB "
            f"| {r.lateness_ms['p50']:.2f} / {r.lateness_ms['p99']:.2f} ms | {r.skipped} "
            f"| {max(0, r.polls - r.stored)} of {r.polls} | {load.prototype} | {load.node_red} |"
        )
    return lines
