"""Recordings of LabVIEW and FlexLogger as `.tdms`, by the npTDMS library.

Source of the properties: National Instruments, "TDMS file format internal structure", and
npTDMS 1.13.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gateway.errors import GatewayError
from gateway.model import Array
from gateway.recordings.source import MAX_BYTES, Source, Track


def open_tdms(path: Path) -> Source:
    """The channels are ``group/channel``, or the channel's name alone where one group has it.

    GatewayError where npTDMS is not installed.
    """
    library = _library()
    tracks: dict[str, Track] = {}
    where: dict[str, tuple[str, str]] = {}
    with library.TdmsFile.read_metadata(path) as file:
        if file.file_status.incomplete_final_segment:
            raise ValueError("it is cut off: its last segment is not complete")
        for group in file.groups():
            for channel in group.channels():
                if len(channel) and np.dtype(channel.dtype).kind in "iuf":
                    name = f"{group.name}/{channel.name}"
                    rate_hz, unit = _rate(channel.properties), _unit(channel.properties)
                    start_ns = _start(channel.properties)
                    tracks[name] = Track(name, len(channel), rate_hz, unit, start_ns)
                    where[name] = (group.name, channel.name)
    uses = Counter(channel for _, channel in where.values())
    aliases = {channel: name for name, (_, channel) in where.items() if uses[channel] == 1}

    def read(name: str) -> Array:
        group, channel = where[name]
        with library.TdmsFile.open(path) as file:
            found = file[group][channel]
            if len(found) * 8 > MAX_BYTES:
                raise ValueError(f"{len(found):,} samples are too many; at most {MAX_BYTES // 8:,}")
            samples: Array = found[:]
            return samples

    def pieces(names: Sequence[str], count: int) -> Iterator[Array]:
        with library.TdmsFile.open(path) as file:
            found = [file[group][channel] for group, channel in (where[n] for n in names)]
            for at in range(0, len(found[0]), count):
                yield np.stack([channel.read_data(at, count) for channel in found])

    return Source(tracks, read, aliases, pieces)


def _library() -> Any:
    try:
        import nptdms  # type: ignore[import-untyped]  # only where a recording needs it
    except ModuleNotFoundError as error:
        raise GatewayError(
            f".tdms needs: pip install 'edge-gateway[recordings]' (missing: {error.name})"
        ) from error
    return nptdms


def _rate(properties: Any) -> float | None:
    step_s = properties.get("wf_increment")
    if not isinstance(step_s, (int, float)) or not math.isfinite(step_s) or step_s <= 0:
        return None
    rate = 1.0 / step_s
    # the step is rounded to binary: 1 / (1 / 25600) need not be 25600
    return float(round(rate)) if math.isclose(rate, round(rate), rel_tol=1e-9) else rate


def _start(properties: Any) -> int | None:
    """``wf_start_time`` is UTC; LabVIEW writes 1904 (0 in its count) where it does not know."""
    begin, offset_s = properties.get("wf_start_time"), properties.get("wf_start_offset", 0.0)
    if not isinstance(begin, np.datetime64) or np.isnat(begin):
        return None
    start_ns = int(begin.astype("M8[ns]").astype("i8")) + round(float(offset_s) * 1e9)
    return start_ns if start_ns > 0 else None


def _unit(properties: Any) -> str | None:
    for key in ("unit_string", "NI_UnitDescription"):
        if isinstance(unit := properties.get(key), str) and unit:
            return unit
    return None
