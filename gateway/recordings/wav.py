"""Recordings as `.wav`: PCM of 8, 16, 24 or 32 bits, and float of 32 or 64.

Source: Microsoft, "Multimedia Programming Interface and Data Specifications 1.0" (RIFF WAVE), and
`mmreg.h` for WAVE_FORMAT_EXTENSIBLE.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from gateway.model import Array
from gateway.recordings.source import MAX_BYTES, Source, Track, numbered

NAME = "data"
"""What the channels of a `.wav` are called, which have no names there."""

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE


class _Format(NamedTuple):
    coding: int
    channels: int
    rate_hz: float
    bits: int
    begin: int
    """Where the samples begin in the file."""
    frames: int


def open_wav(path: Path) -> Source:
    """The channels are ``data``, or ``data[0]``, ``data[1]``...

    PCM comes as a part of the full scale, from -1 to 1; float comes as it is.
    """
    with path.open("rb") as stream:
        found = _read_format(stream)
    names = numbered(NAME, found.channels)
    tracks = {name: Track(name, found.frames, found.rate_hz) for name in names}

    def read(name: str) -> Array:
        size = found.frames * found.channels * found.bits // 8
        if size > MAX_BYTES:
            raise ValueError(f"{size:,} bytes of samples are too many; at most {MAX_BYTES:,}")
        with path.open("rb") as stream:
            stream.seek(found.begin)
            raw = np.frombuffer(stream.read(size), "u1")
        frames = raw.reshape(found.frames, found.channels, found.bits // 8)
        return _numbers(np.ascontiguousarray(frames[:, names.index(name)]), found)

    def pieces(wanted: Sequence[str], count: int) -> Iterator[Array]:
        columns = [names.index(name) for name in wanted]
        with path.open("rb") as stream:
            stream.seek(found.begin)
            for at in range(0, found.frames, count):
                shape = (min(count, found.frames - at), found.channels, found.bits // 8)
                raw = np.frombuffer(stream.read(math.prod(shape)), "u1").reshape(shape)
                each = [_numbers(np.ascontiguousarray(raw[:, c]), found) for c in columns]
                yield np.stack(each)

    return Source(tracks, read, pieces=pieces)


def _read_format(stream: IO[bytes]) -> _Format:
    head = stream.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise ValueError("it does not begin with RIFF and WAVE")
    size = stream.seek(0, 2)
    stream.seek(12)
    form: tuple[int, int, float, int] | None = None
    while len(chunk := stream.read(8)) == 8:
        name, length = struct.unpack("<4sI", chunk)
        begin = stream.tell()
        if name == b"fmt ":
            form = _parse_format(stream.read(min(length, 40)))
        elif name == b"data" and form is not None:
            frame = form[1] * form[3] // 8
            if begin + length > size:
                have = (size - begin) // frame
                raise ValueError(f"it is cut off after {have} of {length // frame} samples")
            return _Format(*form, begin, length // frame)
        # chunks begin at even places
        stream.seek(begin + length + length % 2)
    raise ValueError("it has no samples" if form else "it does not say its format")


def _parse_format(text: bytes) -> tuple[int, int, float, int]:
    if len(text) < 16:
        raise ValueError("its format is cut off")
    coding, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", text)
    if coding == _EXTENSIBLE and len(text) >= 26:
        coding = struct.unpack_from("<H", text, 24)[0]
    known = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}.get(coding, ())
    if bits not in known:
        raise ValueError(f"coding {coding} with {bits} bits is not known; expected PCM or float")
    if not channels or not rate:
        raise ValueError("it has no channels or no rate")
    return coding, channels, float(rate), bits


def _numbers(raw: Array, found: _Format) -> Array:
    """Bytes [frame, byte] of one channel as numbers."""
    if found.coding == _FLOAT:
        values: Array = raw.view(f"<f{found.bits // 8}")[:, 0]
        return values
    if found.bits == 8:
        return (raw[:, 0].astype("f4") - 128.0) / 128.0  # the one that has no sign
    if found.bits == 24:
        wide = np.zeros((len(raw), 4), "u1")
        wide[:, 1:] = raw
        # 24 bits fit a float32 exactly
        return (wide.view("<i4")[:, 0] / 2.0**31).astype("f4")
    if found.bits == 16:
        return raw.view("<i2")[:, 0].astype("f4") / np.float32(2.0**15)
    whole: Array = raw.view("<i4")[:, 0] / 2.0**31
    return whole
