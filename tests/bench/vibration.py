"""(d) Vibration through the whole daemon: mock streams at real-time speed to spooled rows.

Beside it, in the same run: the bare FFT of the same windows, and the usual code that calls scipy
channel by channel. A real S7 peer is polled at 100 ms meanwhile.
"""

from __future__ import annotations

import signal
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
import scipy.signal
import scipy.stats

from gateway.model import Array
from tests.bench.daemon import running, status
from tests.bench.measure import Usage, watch
from tests.bench.null_server import null_server
from tests.sims.s7_peer import S7Peer

RATE_HZ = 25_600
WINDOW = 25_600
A_DEVICE = 64
CHUNK = 32
"""Channels that the daemon transforms at once; the bare FFT is given the same."""

CHANNELS = (1, 4, 16, 64, 256, 300)
WARM_UP_S = 5.0


class Result(NamedTuple):
    """What one number of channels cost."""

    channels: int
    usage: Usage
    idle_percent: float
    bare_us: float
    usual_us: float
    latency_ms: dict[str, float]
    lateness_ms: dict[str, float]
    gaps: int

    @property
    def hop_us(self) -> float:
        """CPU time for one channel and hop, without what the daemon costs anyway."""
        return (self.usage.cpu_percent - self.idle_percent) * 1e4 / (10 * self.channels)


def recording(folder: Path) -> Path:
    """Ten seconds of a worn bearing at 1480 rpm: impacts that ring down, a shaft, noise."""
    random = np.random.default_rng(1)
    t = np.arange(10 * RATE_HZ) / RATE_HZ
    x = 0.1 * random.standard_normal(len(t)) + 0.3 * np.sin(2 * np.pi * 24.7 * t)
    every = RATE_HZ / (3.585 * 24.7)
    ring = np.exp(-np.arange(400) / 60) * np.sin(2 * np.pi * 3400 * np.arange(400) / RATE_HZ)
    for at in (np.arange(0, len(t) - 400, every)).astype(int):
        x[at : at + 400] += 2 * ring
    path = folder / "worn.npy"
    np.save(path, x.astype(np.float32))
    return path


def write_config(folder: Path, channels: int, s7_port: int, url: str) -> Path:
    """A gateway with so many channels, in devices of 64, and one PLC."""
    recording(folder)
    (folder / "plc.yaml").write_text(
        "driver: s7\ngroups:\n  process:\n    interval_s: 0.1\n    tags:\n"
        + "".join(f"      T{i}: {{address: DB1.DBD{4 * i}, type: real}}\n" for i in range(1000))
    )
    devices = f"  plc: {{driver: s7, host: 127.0.0.1, port: {s7_port}, map: plc.yaml}}\n"
    at = 0
    while at < channels:
        count = min(A_DEVICE, channels - at)
        names = "".join(
            f"    c{i}: {{full_scale: 50, replay: {{file: worn.npy, rate_hz: {RATE_HZ}}}}}\n"
            for i in range(count)
        )
        (folder / f"stream{at}.yaml").write_text(
            f"driver: mock\nstream:\n  rate_hz: {RATE_HZ}\n  channels:\n{names}"
            "  analysis: {bearing: 6205, speed: 1482}\n"
        )
        devices += f"  daq_{at}: {{driver: mock, map: stream{at}.yaml}}\n"
        at += count
    file = folder / "gateway.yaml"
    file.write_text(
        "gateway: {name: bench}\nstate_dir: state\napi: {socket: s}\n"
        f"sinks: {{influx: {{type: influxdb, url: '{url}', org: o, bucket: b}}}}\n"
        f"devices:\n{devices}"
    )
    return file


def paced_us(work: Any, channels: int, seconds: float = 3.0) -> float:
    """Median CPU time of one call for each channel, in microseconds; ten calls a second.

    At the daemon's pace, because the caches are cold after 100 ms for whatever runs then.
    """
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begun, cpu = time.perf_counter(), time.process_time()
        work()
        times.append(time.process_time() - cpu)
        time.sleep(max(0.0, 0.1 - (time.perf_counter() - begun)))
    return float(np.median(times)) * 1e6 / channels


def bare_fft(windows: Array) -> None:
    """What no analysis of these windows can do without."""
    for at in range(0, len(windows), CHUNK):
        scipy.fft.rfft(windows[at : at + CHUNK], axis=-1)


def usual(windows: Array) -> None:
    """The same features as they are usually written: scipy, channel by channel, in float64."""
    velocity = scipy.signal.butter(4, [10, 1000], "bandpass", fs=RATE_HZ, output="sos")
    envelope = scipy.signal.butter(4, [500, 12_000], "bandpass", fs=RATE_HZ, output="sos")
    for window in windows:
        x = window.astype(float)
        scipy.stats.kurtosis(x, fisher=False)
        scipy.stats.skew(x)
        np.sqrt(np.mean(x * x))
        np.abs(x).max()
        speed = np.cumsum(scipy.signal.sosfiltfilt(velocity, x)) / RATE_HZ
        np.sqrt(np.mean(speed * speed))
        scipy.signal.welch(x, RATE_HZ, nperseg=8192)
        rectified = np.abs(scipy.signal.hilbert(scipy.signal.sosfiltfilt(envelope, x)))
        np.abs(scipy.fft.rfft(rectified**2 - np.mean(rectified**2)))


def run(channels: int, seconds: float, idle_percent: float) -> Result:
    """Measure one number of channels; 0: only the PLC."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        url = stack.enter_context(null_server())
        peer = stack.enter_context(S7Peer())
        peer.db(1, 4000)
        peer.move(1, "ramp")
        file = write_config(folder, channels, peer.port, url)
        gateway = stack.enter_context(running(file, 15))
        watch(gateway.pid, WARM_UP_S)
        usage = watch(gateway.pid, seconds)
        told = status(folder)
        assert told is not None
        gateway.send_signal(signal.SIGTERM)
        gateway.wait(30)
        devices = told["devices"]
        streams = [d["facts"]["stream"] for d in devices.values() if "stream" in d["facts"]]
        windows = np.load(folder / "worn.npy")[:WINDOW]
        windows = np.tile(windows, (min(max(channels, 1), A_DEVICE), 1))
        return Result(
            channels,
            usage,
            idle_percent,
            paced_us(lambda: bare_fft(windows), len(windows)),
            paced_us(lambda: usual(windows[:4]), len(windows[:4])),
            max((s["latency_ms"] for s in streams), key=lambda s: s["p99"], default={}),
            devices["plc"]["lateness_ms"],
            sum(s["gaps"] for s in streams),
        )


def table(seconds: float = 20.0) -> list[str]:
    """All numbers of channels as lines of a Markdown table."""
    idle = run(0, seconds, 0.0).usage.cpu_percent
    lines = [
        f"The daemon with the PLC alone: {idle:.1f} % of a core.",
        "",
        "| channels at 25.6 kS/s | CPU of one core | RSS | a channel and hop "
        "| bare FFT at this pace | times the FFT | usual scipy code "
        "| row after its last sample p50 / p99 | polls' lateness p50 / p99 | gaps |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for channels in CHANNELS:
        r = run(channels, seconds, idle)
        lines.append(
            f"| {channels} | **{r.usage.cpu_percent:.1f} %** | {r.usage.rss_mib:.0f} MiB "
            f"| {r.hop_us:.0f} us | {r.bare_us:.0f} us | **{r.hop_us / r.bare_us:.1f}** "
            f"| {r.usual_us / 1e3:.1f} ms "
            f"| {r.latency_ms['p50']:.1f} / {r.latency_ms['p99']:.1f} ms "
            f"| {r.lateness_ms['p50']:.2f} / {r.lateness_ms['p99']:.2f} ms | {r.gaps} |"
        )
    return lines
