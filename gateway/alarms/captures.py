"""Raw samples around alarms: from the ring of a stream to ``.npz`` files, by its own thread."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gateway import __version__
from gateway.alarms.model import Transition, UnknownAlarm
from gateway.alarms.settings import CaptureConfig, CapturesConfig
from gateway.errors import GatewayError
from gateway.model import Table

if TYPE_CHECKING:  # scipy is loaded only where there is a stream
    from gateway.analysis.stream import StreamAnalysis

log = logging.getLogger("gateway.alarms")

MOST_WAITING = 32
"""Windows that wait for their last sample; what is asked for meanwhile is refused, and counted."""
PATIENCE_S = 5.0
"""So long after its time a window is stored with the samples that there are."""
LOOK_S = 0.1
MEANWHILE_S = 1.0
"""Samples of so long may come while a window is cut out."""
FOLDER = "alarm-captures"

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,300}\.npz")

Find = Callable[[str, str], "tuple[StreamAnalysis, int]"]
"""The analysis of a device and the index of its channel, as `gateway.streams.Streams.find`."""


class Asked(NamedTuple):
    """A window that is to be stored."""

    id: str
    table: Table
    config: CaptureConfig
    transition: Transition
    give_up_s: float

    @property
    def name(self) -> str:
        """Of its file: it sorts by time, and says which alarm it is of."""
        at = datetime.fromtimestamp(self.transition.time_ns / 1e9, UTC)
        alarm = re.sub(r"[^A-Za-z0-9_-]+", "-", self.id)[:120]
        return f"{at:%Y%m%dT%H%M%S.%fZ}-{self.transition.number}-{alarm}.npz"


class Captures:
    """The windows of one gateway."""

    def __init__(self, state_dir: Path, find: Find) -> None:
        self.on_stored: Callable[[str, str], None] = lambda id_, name: None
        """Called with the alarm's id and the file's name, in the thread that wrote it."""
        self._folder = state_dir / FOLDER
        self._find = find
        self._config = CapturesConfig.model_validate({})
        self._change = threading.Condition()
        self._waiting: list[Asked] = []
        self._stopping = False
        self._stored = 0
        self._dropped = 0
        self._error: str | None = None
        self._thread = threading.Thread(target=self._run, name="alarm captures")

    # -- from any thread ----------------------------------------------------------------------

    def start(self, config: CapturesConfig) -> None:
        """Begin."""
        self._config = config
        self._thread.start()

    def configure(self, config: CapturesConfig) -> None:
        """Other bounds."""
        self._config = config

    def ask(self, id_: str, table: Table, config: CaptureConfig, transition: Transition) -> None:
        """Store the window around a transition when it is complete. Never waits."""
        give_up_s = time.monotonic() + config.post_s + PATIENCE_S
        with self._change:
            if len(self._waiting) >= MOST_WAITING:
                self._dropped += 1
                return
            self._waiting.append(Asked(id_, table, config, transition, give_up_s))
            self._change.notify()

    def listed(self) -> list[dict[str, Any]]:
        """Name, alarm id, time and bytes of each, the newest first. GatewayError."""
        found = []
        for path in self._files():
            try:
                with np.load(path) as file:
                    meta = json.loads(str(file["meta"]))
                entry = {"id": str(meta["id"]), "time_ns": int(meta["alarm_ns"])}
                found.append({"name": path.name, **entry, "bytes": path.stat().st_size})
            except FileNotFoundError:
                continue  # it made room for another one just now
            except (OSError, ValueError, KeyError, TypeError) as error:
                extra = {"file": str(path), "error": str(error)}
                log.warning("a stored window cannot be read", extra=extra)
        return found[::-1]

    def read(self, name: str) -> bytes:
        """One file; UnknownAlarm where there is none."""
        if _NAME.fullmatch(name):
            try:
                return (self._folder / name).read_bytes()
            except FileNotFoundError:
                pass
            except OSError as error:
                raise GatewayError(f"the window cannot be read: {error.strerror}") from error
        raise UnknownAlarm(f"there is no stored window '{name}'; they are listed by captures")

    def status(self) -> dict[str, Any]:
        """Facts for the status; no I/O."""
        return {
            "stored": self._stored,
            "waiting": len(self._waiting),
            "dropped": self._dropped,
            "error": self._error,
        }

    def stop(self, timeout_s: float) -> None:
        """Store what waits with the samples that there are, and end."""
        with self._change:
            self._stopping = True
            self._change.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    # -- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        with suppress(OSError):
            for part in self._folder.glob("*.part"):  # of a run that ended meanwhile
                part.unlink()
        while True:
            with self._change:
                if not self._waiting:
                    self._change.wait_for(lambda: self._waiting or self._stopping)
                elif not self._stopping:
                    self._change.wait(LOOK_S)
                waiting, is_last = list(self._waiting), self._stopping
            for asked in waiting:
                if not is_last and not self._is_complete(asked):
                    continue
                self._guarded(asked)
                with self._change:
                    self._waiting.remove(asked)
            if is_last:
                return

    def _is_complete(self, asked: Asked) -> bool:
        """Whether its last sample is there, or will not come any more."""
        if time.monotonic() >= asked.give_up_s:
            return True
        try:
            analysis, index = self._find(asked.table.device, asked.table.channel or "")
            _, end_ns, _ = analysis.waveform(index, 0.0)
        except GatewayError:
            return False
        return end_ns >= asked.transition.time_ns + round(asked.config.post_s * 1e9)

    def _guarded(self, asked: Asked) -> None:
        try:
            self._store(asked)
        except (GatewayError, OSError) as error:
            self._dropped += 1
            self._error = getattr(error, "strerror", None) or str(error)
            extra = {"alarm": asked.id, "error": self._error}
            log.warning("the samples around an alarm are not stored", extra=extra)
        except Exception as error:
            self._dropped += 1
            self._error = f"a bug in the gateway: {error!r}"
            log.exception("the samples around an alarm are not stored, which is a bug")
        else:
            self._error = None
            self._stored += 1
            self.on_stored(asked.id, asked.name)

    def _store(self, asked: Asked) -> None:
        analysis, index = self._find(asked.table.device, asked.table.channel or "")
        content = window(analysis, index, asked)
        self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._make_room(len(content))
        target = self._folder / asked.name
        part = target.with_suffix(".part")
        try:
            part.write_bytes(content)
            part.rename(target)
        finally:
            part.unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        """Delete the oldest, until one more of that size fits."""
        if size > self._config.max_bytes:
            raise GatewayError(f"a window of {size:,} bytes is more than captures.max_bytes")
        files = [(path, path.stat().st_size) for path in self._files()]
        total = sum(bytes_ for _, bytes_ in files)
        while files and (
            total + size > self._config.max_bytes or len(files) >= self._config.max_files
        ):
            path, bytes_ = files.pop(0)
            path.unlink(missing_ok=True)
            total -= bytes_

    def _files(self) -> list[Path]:
        """All windows, the oldest first."""
        try:
            return sorted(p for p in self._folder.iterdir() if _NAME.fullmatch(p.name))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise GatewayError(f"the stored windows cannot be read: {error.strerror}") from error


def window(analysis: StreamAnalysis, index: int, asked: Asked) -> bytes:
    """The samples around an alarm as an ``.npz`` file; GatewayError where there are none.

    Arrays: the channel's samples under its name (float32, in its unit), ``rate_hz``, ``t0_ns`` of
    the first sample, ``unit``, ``meta`` (JSON), and where they reach back for a whole window before
    the alarm ``spectrum`` (peak amplitude in the unit, ``line_hz`` apart) and ``envelope``.
    """
    alarm_ns, config = asked.transition.time_ns, asked.config
    _, newest_ns, rate_hz = analysis.waveform(index, 0.0)
    section = analysis.section_of(index)
    whole_s = (section.spec.samples + section.moments.settling * section.spec.hop) / rate_hz
    seconds = max(0.0, (newest_ns - alarm_ns) / 1e9) + max(config.pre_s, whole_s) + MEANWHILE_S
    samples, end_ns, rate_hz = analysis.waveform(index, seconds)
    if not len(samples):
        raise GatewayError("there are no samples: the stream began anew since the alarm")
    # sample i was taken at end_ns - (n - 1 - i) / rate
    at_alarm = len(samples) - round((end_ns - alarm_ns) * rate_hz / 1e9)
    first = max(0, at_alarm - round(config.pre_s * rate_hz))
    last = min(len(samples), at_alarm + round(config.post_s * rate_hz))
    if first >= last:
        raise GatewayError("its samples are not kept any more; more history_s keeps them longer")
    channel = analysis.plan.channels[index]
    kept = samples[first:last]
    t0_ns = end_ns - round((len(samples) - 1 - first) * 1e9 / rate_hz)
    arrays: dict[str, Any] = {
        "rate_hz": np.float64(rate_hz),
        "t0_ns": np.int64(t0_ns),
        "unit": np.array(channel.unit),
    }
    spectra = _spectra(analysis, index, samples[: max(0, min(at_alarm, len(samples)))])
    meta: Mapping[str, Any] = {
        "id": asked.id,
        "alarm_ns": alarm_ns,
        "message": asked.transition.message,
        "severity": asked.transition.severity,
        "device": asked.table.device,
        "channel": channel.name,
        "unit": channel.unit,
        "rate_hz": rate_hz,
        "t0_ns": t0_ns,
        "wanted": {"pre_s": config.pre_s, "post_s": config.post_s},
        "line_hz": float(spectra["line_hz"]) if spectra else None,
        "version": __version__,
        "setup": analysis.setup(index),
    }
    arrays |= spectra
    arrays["meta"] = np.array(json.dumps(meta))
    name = channel.name if channel.name not in arrays else f"{channel.name}_samples"
    arrays[name] = kept
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _spectra(analysis: StreamAnalysis, index: int, past: Any) -> dict[str, Any]:
    """Of the window that ends with these samples, by the same code as the features."""
    from gateway.features.engine import Engine
    from gateway.features.whole import windows

    section = analysis.section_of(index)
    spec = section.spec
    if len(past) < spec.samples:
        return {}
    wanted = spec.samples + section.moments.settling * spec.hop
    past = past[-wanted:]
    past = past[len(past) % spec.hop :]
    if len(past) < spec.samples:
        return {}
    engine = Engine(spec, 1)
    windows(past, engine, analysis.speed_hz(index))
    found = {"line_hz": np.float64(spec.line_hz), "spectrum": engine.spectrum(0)[1]}
    envelope = engine.envelope_spectrum(0)[1]
    return {**found, "envelope": envelope} if len(envelope) else found
