"""Recordings as numpy writes them: `.npz` and `.npy`.

Source of the format: numpy.lib.format, versions 1.0 and 2.0.
"""

from __future__ import annotations

import contextlib
import json
import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from gateway.model import Array
from gateway.recordings.source import MAX_BYTES, Source, Track, numbered

RATE_KEYS = ("rate_hz", "sample_rate_hz", "sample_rate", "sampling_rate", "rate", "fs_hz", "fs")
"""A single number of this name in an `.npz` is the rate of all its arrays."""

UNIT_KEY = "unit"
"""A single text of this name in an `.npz` is the unit of all its arrays."""

START_KEYS = ("first_ns", "t0_ns", "start_ns")
"""A single whole number of this name is the time of the first sample; a capture says it in META."""

META_KEY = "meta"
"""JSON of what a capture of `gateway capture` depends on."""

NPY_NAME = "data"
"""A `.npy` holds one array without a name; this is what its channels are called."""


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_column: bool
    """Whether the first index runs fastest (Fortran's order)."""

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def open_npz(path: Path) -> Source:
    """Each array of numbers is one channel or several; see `_channels`."""
    with zipfile.ZipFile(path) as archive:
        headers = {}
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as stream:
                    headers[member[: -len(".npy")]] = _header(stream)
    rate_key = next((k for k in RATE_KEYS if k in headers and headers[k].size == 1), None)
    unit_key = UNIT_KEY if UNIT_KEY in headers and headers[UNIT_KEY].dtype.kind == "U" else None
    rate_hz, unit = None, None
    with np.load(path, allow_pickle=False) as arrays:
        if rate_key is not None and headers[rate_key].dtype.kind in "iuf":
            rate_hz = float(arrays[rate_key].item())
        if unit_key is not None and headers[unit_key].size == 1:
            unit = str(arrays[unit_key].item())
        start_ns = _start(arrays, headers)
    usable = {k: h for k, h in headers.items() if k not in (rate_key, unit_key)}
    tracks, where = _tracks(usable, rate_hz, unit, start_ns)

    def read(name: str) -> Array:
        key, column = where[name]
        _check_size(usable[key])
        with np.load(path, allow_pickle=False) as arrays:
            return _column(arrays[key], column)

    def pieces(names: Sequence[str], count: int) -> Iterator[Array]:
        with zipfile.ZipFile(path) as archive:
            each = _pieces([where[n] for n in names], count, lambda k: archive.open(f"{k}.npy"))
            yield from each

    return Source(tracks, read, pieces=pieces)


def _start(arrays: Any, headers: dict[str, _Header]) -> int | None:
    """Time of the first sample, from what the file says of it."""
    for key in START_KEYS:
        if key in headers and headers[key].size == 1 and headers[key].dtype.kind in "iu":
            return int(arrays[key].item())
    if META_KEY in headers and headers[META_KEY].size == 1 and headers[META_KEY].dtype.kind == "U":
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return int(json.loads(str(arrays[META_KEY].item()))["first_ns"])
    return None


def open_npy(path: Path) -> Source:
    """The array's channels are called ``data``, or ``data[0]``, ``data[1]``..."""
    with path.open("rb") as stream:
        header = _header(stream)
    tracks, where = _tracks({NPY_NAME: header}, None, None)

    def read(name: str) -> Array:
        _check_size(header)
        return _column(np.load(path, allow_pickle=False), where[name][1])

    def pieces(names: Sequence[str], count: int) -> Iterator[Array]:
        yield from _pieces([where[n] for n in names], count, lambda _: path.open("rb"))

    return Source(tracks, read, pieces=pieces)


def _header(stream: IO[bytes]) -> _Header:
    version = npy.read_magic(stream)
    if version == (1, 0):
        shape, by_column, dtype = npy.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, by_column, dtype = npy.read_array_header_2_0(stream)
    else:
        raise ValueError(f"format version {version[0]}.{version[1]} is not known")
    return _Header(shape, dtype, by_column)


def _check_size(header: _Header) -> None:
    if header.size * header.dtype.itemsize > MAX_BYTES:
        raise ValueError(f"an array of {header.size:,} numbers is too large; {MAX_BYTES:,} bytes")


def _tracks(
    headers: dict[str, _Header],
    rate_hz: float | None,
    unit: str | None,
    start_ns: int | None = None,
) -> tuple[dict[str, Track], dict[str, tuple[str, int]]]:
    tracks: dict[str, Track] = {}
    where: dict[str, tuple[str, int]] = {}
    objects = [key for key, header in headers.items() if header.dtype.hasobject]
    for key, header in headers.items():
        if header.dtype.kind not in "iuf" or header.size < 2:
            continue
        count = _channels(header.shape)
        for i, name in enumerate(numbered(key, count)):
            tracks[name] = Track(name, header.size // count, rate_hz, unit, start_ns)
            where[name] = (key, i)
    if objects and not tracks:
        raise ValueError(f"'{objects[0]}' holds pickled Python objects, which are never loaded")
    return tracks, where


def _channels(shape: tuple[int, ...]) -> int:
    """Number of channels in an array of this shape.

    One dimension: one channel. Two: the shorter one counts the channels, whichever stands first.
    More: the last one counts the channels, and the others follow each other in time, e.g.
    (snapshots, samples, channels).
    """
    if len(shape) < 2:
        return 1
    return min(shape) if len(shape) == 2 else shape[-1]


def _column(array: Array, column: int) -> Array:
    if array.ndim < 2:
        return array
    if array.ndim == 2 and array.shape[0] < array.shape[1]:
        array = array.T
    flat: Array = array.reshape(-1, array.shape[-1])[:, column]
    return flat


def _pieces(
    wanted: Sequence[tuple[str, int]], count: int, opened: Callable[[str], IO[bytes]]
) -> Iterator[Array]:
    """Samples [track, sample] of these (array, column), ``count`` at a time."""
    columns: dict[str, list[int]] = {}
    for key, column in wanted:
        columns.setdefault(key, []).append(column)
    places = [(list(columns).index(key), columns[key].index(column)) for key, column in wanted]
    with contextlib.ExitStack() as streams:

        def open_next(key: str) -> IO[bytes]:
            return streams.enter_context(opened(key))

        arrays = [_array_pieces(key, c, count, open_next) for key, c in columns.items()]
        for found in zip(*arrays, strict=True):
            yield np.stack([found[array][row] for array, row in places])


def _array_pieces(
    key: str, columns: list[int], count: int, opened: Callable[[str], IO[bytes]]
) -> Iterator[Array]:
    """Samples [column, sample] of one array, in the order in which they lie in the file."""
    stream = opened(key)
    header = _header(stream)
    channels = _channels(header.shape)
    samples = header.size // channels
    if len(header.shape) > 2 and header.by_column:
        raise ValueError(f"'{key}' has {len(header.shape)} dimensions in Fortran's order")
    in_turn = header.by_column == (len(header.shape) == 2 and header.shape[0] < header.shape[1])
    size = header.dtype.itemsize
    if in_turn or channels == 1:  # the channels of one sample side by side
        for at in range(0, samples, count):
            taken = min(count, samples - at)
            raw = _read(stream, taken * channels * size)
            yield np.frombuffer(raw, header.dtype).reshape(taken, channels)[:, columns].T
        return
    each = [stream, *(opened(key) for _ in columns[1:])]
    begin = stream.tell()
    for own, column in zip(each, columns, strict=True):
        own.seek(begin + column * samples * size)
    for at in range(0, samples, count):
        taken = min(count, samples - at)
        yield np.stack([np.frombuffer(_read(s, taken * size), header.dtype) for s in each])


def _read(stream: IO[bytes], size: int) -> bytes:
    raw = stream.read(size)
    if len(raw) < size:
        raise ValueError("it is cut off")
    return raw
