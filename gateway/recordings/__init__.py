"""Reads a recorded waveform: `.npz`, `.npy`, `.wav`, `.tdms`, `.parquet` or `.csv`.

A channel has the name of its array, its column, or its group and channel in a TDMS file. Where one
array holds several they are numbered, ``acc[0]``, ``acc[1]``; what has no name is called ``data``.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from gateway.errors import GatewayError
from gateway.model import Array
from gateway.recordings.arrays import open_npy, open_npz
from gateway.recordings.parquet import open_parquet
from gateway.recordings.source import Source, Track
from gateway.recordings.tdms import open_tdms
from gateway.recordings.text import open_csv
from gateway.recordings.wav import open_wav

T = TypeVar("T")

__all__ = [
    "Recording",
    "Source",
    "Track",
    "channel_names",
    "describe_recording",
    "open_recording",
    "read_pieces",
    "read_recording",
]


@dataclass(slots=True, frozen=True)
class Recording:
    """One channel of a recording."""

    data: Array
    """The samples, one dimension: float32 where it holds them exactly, else float64."""
    rate_hz: float
    channel: str
    unit: str | None
    """None where the file does not say it."""
    path: Path


def channel_names(path: str | os.PathLike[str]) -> list[str]:
    """The channels of a recording, by the names under which they can be read.

    An array of one dimension has its own name; of an array of several channels they are
    ``name[0]``, ``name[1]``... GatewayError where the file cannot be read.
    """
    return list(_open(Path(path)).tracks)


def describe_recording(path: str | os.PathLike[str], channel: str | None = None) -> Track:
    """What the file's header says of a channel: name, samples, rate, unit; no samples are read.

    ``channel`` None: the only one. GatewayError where the file or the channel is not usable.
    """
    path = Path(path)
    return _choose(_open(path), path, channel)


def open_recording(path: str | os.PathLike[str]) -> Source:
    """The tracks of a recording, of which only the headers are read; GatewayError as above."""
    return _open(Path(path))


def read_pieces(
    path: str | os.PathLike[str], source: Source, names: Sequence[str], count: int
) -> Iterator[Array]:
    """Samples [track, sample] of tracks of equal length, ``count`` at a time.

    So a file of any size takes little memory. GatewayError where the file is damaged, or its format
    has to be read as a whole (csv).
    """
    path = Path(path)
    if source.pieces is None:
        raise GatewayError(f"{path.suffix} cannot be read piece by piece; {path} is too much")
    pieces = _guarded(path, lambda: source.pieces(names, count))  # type: ignore[misc]
    while (piece := _guarded(path, lambda: next(pieces, None))) is not None:
        yield piece


def read_recording(
    path: str | os.PathLike[str], channel: str | None = None, rate_hz: float | None = None
) -> Recording:
    """Read one channel; ``channel`` None: the only one.

    ``rate_hz`` given beats the rate that the file says. GatewayError with words where the file is
    missing, damaged, too large or of another kind, where the channel is not in it, or where nobody
    says the rate.
    """
    path = Path(path)
    source = _open(path)
    name = _choose(source, path, channel).name
    data = _samples(_guarded(path, lambda: source.read(name)))
    track = source.tracks[name]
    rate = track.rate_hz if rate_hz is None else rate_hz
    if rate is None:
        raise GatewayError(f"{path} does not say its rate; give --rate, in Hz (rate_hz)")
    if not (math.isfinite(rate) and rate > 0):
        raise GatewayError(f"{rate:g} Hz is no rate of samples; expected more than 0")
    if not data.size:
        raise GatewayError(f"channel '{name}' of {path} has no samples")
    bad = data.size - int(np.count_nonzero(np.isfinite(data)))
    if bad:
        raise GatewayError(f"{bad} samples of '{name}' in {path} are no finite numbers")
    return Recording(data, float(rate), name, track.unit, path)


def _samples(raw: Array) -> Array:
    exact = raw.dtype.kind == "f" and raw.dtype.itemsize <= 4
    exact = exact or (raw.dtype.kind in "iu" and raw.dtype.itemsize <= 2)
    return np.ascontiguousarray(raw, np.float32 if exact else np.float64)


def _choose(source: Source, path: Path, channel: str | None) -> Track:
    tracks = source.tracks
    if not tracks:
        raise GatewayError(f"{path} holds no waveform; expected an array of numbers")
    if channel is None:
        if len(tracks) > 1:
            raise GatewayError(f"{path} has several channels; name one of {_listed(tracks)}")
        return next(iter(tracks.values()))
    name = source.aliases.get(channel, channel)
    if name not in tracks:
        known = [*tracks, *source.aliases]
        near = difflib.get_close_matches(channel, known, 1)
        folded = {n.lower(): n for n in known}
        near = [folded[channel.lower()]] if channel.lower() in folded else near
        hint = f"did you mean '{near[0]}'?" if near else f"it has {_listed(tracks)}"
        raise GatewayError(f"{path} has no channel '{channel}'; {hint}")
    return tracks[name]


def _listed(tracks: dict[str, Track]) -> str:
    names = list(tracks)
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(f"'{n}'" for n in names[:12]) + more


def _open(path: Path) -> Source:
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        kinds = ", ".join(_OPENERS)
        what = f"'{path.suffix}'" if path.suffix else "a file without ending"
        raise GatewayError(f"{path}: {what} is no recording that can be read; expected {kinds}")
    return _guarded(path, lambda: opener(path))


def _guarded(path: Path, work: Callable[[], T]) -> T:
    try:
        return work()
    except GatewayError:
        raise
    except OSError as error:
        raise GatewayError(f"cannot read {path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise GatewayError(f"{path} is too large for the memory of this machine") from error
    except Exception as error:  # a damaged file makes a reader fail in many ways
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise GatewayError(f"{path} is damaged, or no {path.suffix.lower()} file: {why}") from error


_OPENERS: dict[str, Callable[[Path], Source]] = {
    ".npz": open_npz,
    ".npy": open_npy,
    ".wav": open_wav,
    ".tdms": open_tdms,
    ".parquet": open_parquet,
    ".csv": open_csv,
}
