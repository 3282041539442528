"""Recordings as text, `.csv`: columns of numbers, with or without a line of names above them."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gateway.model import Array
from gateway.recordings.source import MAX_BYTES, Source, Track, numbered

NAME = "data"
"""What the columns are called where no line of names does it: ``data[0]``, ``data[1]``..."""

_LINES = 1000
"""Lines that are parsed in one call, so that other threads get their turn."""

_TIME = re.compile(
    r"(?:time|t|zeit|x_value|timestamp|seconds|sec)\s*[_ ]?[\[(]?\s*(s|sec|ms|us|µs|)\s*[\])]?",
    re.I,
)
_UNIT = re.compile(r"(.*?)\s*[\[(]([^\])]+)[\])]\s*")
_SECONDS = {"ms": 1e-3, "us": 1e-6, "µs": 1e-6}


class _Layout(NamedTuple):
    separator: str
    comma: bool
    """Whether the decimal mark is a comma."""
    skip: int
    """Lines above the numbers."""
    names: list[str]
    units: list[str | None]
    time: int | None
    """Column of the time."""
    time_s: float
    """Length of the time column's unit."""


def open_csv(path: Path) -> Source:
    """Separated by comma, semicolon or tab; with the latter two, ``0,5`` is a number.

    A column that is called ``time`` (``t``, ``Time [ms]``...), or a first column without a name
    that rises in even steps, is the time in seconds and gives the rate. A unit may stand in the
    name: ``acc [g]``. A line that begins with ``#`` is a remark.
    """
    with contextlib.closing(_lines(path)) as lines:
        head = list(itertools.islice(lines, _LINES))
    layout = _layout(head)
    first = _parse(head[layout.skip :], layout, layout.skip)
    layout = _with_time(layout, first)
    rate_hz = None if layout.time is None else even_rate(first[:, layout.time] * layout.time_s)
    columns = {n: i for i, n in enumerate(layout.names) if i != layout.time}
    tracks = {n: Track(n, None, rate_hz, layout.units[i]) for n, i in columns.items()}

    def read(name: str) -> Array:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES:,} bytes of text are too many")
        keep = [columns[name], *([] if layout.time is None else [layout.time])]
        parts = []
        number = layout.skip
        with contextlib.closing(_lines(path)) as all_lines:
            lines = itertools.islice(all_lines, layout.skip, None)
            while block := list(itertools.islice(lines, _LINES)):
                parts.append(_parse(block, layout, number)[:, keep])
                number += len(block)
        values = np.concatenate(parts)
        if layout.time is not None:
            whole_hz = even_rate(values[:, 1] * layout.time_s)
            tracks[name] = tracks[name]._replace(samples=len(values), rate_hz=whole_hz)
        samples: Array = values[:, 0]
        return samples

    return Source(tracks, read)


def _lines(path: Path) -> Generator[str]:
    with path.open(encoding="utf-8-sig", errors="strict") as file:
        try:
            for line in file:
                if (text := line.strip()) and not text.startswith("#"):
                    yield text
        except UnicodeDecodeError as error:
            raise ValueError("it is not UTF-8 text; save it with that encoding") from error


def _layout(head: list[str]) -> _Layout:
    if not head:
        raise ValueError("it is empty")
    # of the last line: the first may be names in which anything stands
    separator = next((s for s in ("\t", ";", ",") if s in head[-1]), ",")
    comma = separator != "," and "," in head[-1]
    skip = 0 if all(_is_number(f, comma) for f in head[0].split(separator)) else 1
    fields = [f.strip().strip('"').strip() for f in head[0].split(separator)]
    if not skip:
        names = numbered(NAME, len(fields))
        return _Layout(separator, comma, 0, names, [None] * len(names), None, 1.0)
    time, time_s = None, 1.0
    names = []
    units: list[str | None] = []
    for i, field in enumerate(fields):
        found = _UNIT.fullmatch(field)
        name, unit = (found[1], found[2]) if found else (field, None)
        if time is None and (is_time := _TIME.fullmatch(field)):
            time, time_s = i, _SECONDS.get(is_time[1].lower(), 1.0)
        names.append(name or f"{NAME}[{i}]")
        units.append(unit)
    if len(set(names)) < len(names):
        raise ValueError("two of its columns have the same name")
    return _Layout(separator, comma, 1, names, units, time, time_s)


def _with_time(layout: _Layout, first: Array) -> _Layout:
    """Whether the first of columns without names is the time: it rises in even steps."""
    if layout.skip or first.shape[1] < 2 or first.shape[0] < 8:
        return layout
    steps = np.diff(first[:, 0])
    # whole numbers may as well count the samples
    is_time = steps.min() > 0 and steps.max() < 1.5 * steps.min() and steps.mean() % 1.0
    if not is_time:
        return layout
    names = [NAME, *numbered(NAME, first.shape[1] - 1)]
    return layout._replace(names=names, time=0)


def _is_number(field: str, comma: bool) -> bool:
    try:
        float(field.replace(",", ".") if comma else field)
    except ValueError:
        return False
    return True


def _parse(lines: list[str], layout: _Layout, number: int) -> Array:
    """Numbers [line, column]; ``number`` lines went before, for the message."""
    width = len(layout.names)
    if layout.comma:
        lines = [line.replace(",", ".") for line in lines]
    try:
        values = np.loadtxt(lines, delimiter=layout.separator, ndmin=2, comments=None)
    except ValueError:
        values = np.empty((0, 0))
    if values.shape == (len(lines), width):
        return values
    for i, line in enumerate(lines):
        fields = line.split(layout.separator)
        wrong = next((f for f in fields if not _is_number(f, False)), None)
        where = f"line {number + i + 1} (without remarks and empty lines)"
        if len(fields) != width:
            raise ValueError(f"{where} has {len(fields)} columns; expected {width}")
        if wrong is not None:
            raise ValueError(f"{where} has '{wrong.strip()}'; expected a number")
    raise ValueError("it has no numbers")


def even_rate(time_s: Array) -> float | None:
    """Samples a second, from their times; ValueError where the steps are uneven."""
    if time_s.size < 2:
        return None
    steps = np.diff(time_s)
    span_s = float(time_s[-1] - time_s[0])
    mean = span_s / steps.size
    if not mean > 0 or steps.min() <= 0.5 * mean or steps.max() >= 1.5 * mean:
        low, high = steps.min(), steps.max()
        raise ValueError(f"the steps of its time go from {low:g} to {high:g} s; expected even ones")
    # what the times lost when they were printed with few digits, at both ends
    line = time_s[0] + mean * np.arange(time_s.size)
    lost = 2.0 * float(np.abs(time_s - line).max()) / span_s + 1e-9
    rate = 1.0 / mean
    return float(round(rate)) if abs(rate - round(rate)) <= lost * rate else rate
