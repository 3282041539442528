"""Reads rows as JSON objects, and what collectd sends.

    {"device": "press_9", "table": "press", "time_ns": 1772000000123456789,
     "values": {"force": 12.5, "mode": "auto", "on": true, "pm10": null},
     "units": {"force": "kN"}, "quality": {"pm10": "BAD:timeout"},
     "module": "left", "labels": {"line": "kiln"}, "kinds": {"count": "i8"}}

Only ``table`` and ``values`` are needed. A number is a float, unless ``kinds`` says otherwise: JSON
does not tell 3 from 3.0, and a column must not change its type with its value.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from gateway.ingest.points import Faults, Points, check_time, parse_quality, reason_text
from gateway.ingest.shapes import Refused, Shape, Shapes
from gateway.model import KINDS, Column, Kind, Mark, Quality, Scalar

MAX_LIST_BYTES: Final = 262_144
"""Longest JSON document: it is read at one go, 1 ms. More goes as one object a line."""

_KEYS: Final = frozenset(
    {"device", "table", "module", "labels", "time_ns", "values", "units", "kinds", "quality"}
)
_BOUNDS: Final[dict[Kind, tuple[int, int]]] = {
    "i8": (-(2**63), 2**63 - 1),
    "u8": (0, 2**64 - 1),
}


class JsonReader:
    """Reads objects of one sender."""

    def __init__(self, shapes: Shapes, sender: str) -> None:
        self._shapes = shapes
        self._sender = sender

    def read_lines(
        self, text: bytes, first_line: int, points: Points, faults: Faults, now_ns: int
    ) -> int:
        """Read whole lines, an object each; returns their number."""
        lines = text.split(b"\n")
        if not lines[-1]:
            lines.pop()
        for number, line in enumerate(lines, first_line):
            if line.isspace() or not line:
                continue
            try:
                if len(line) > MAX_LIST_BYTES:
                    raise Refused(f"a line of {len(line)} bytes; at most {MAX_LIST_BYTES}")
                self._items([(number, orjson.loads(line))], points, faults, now_ns)
            except orjson.JSONDecodeError as error:
                faults.add(number, error.colno, f"not JSON: {error.msg}")
            except Refused as error:
                faults.add(number, 1, str(error), error.reason)
        return len(lines)

    def read_document(self, text: bytes, points: Points, faults: Faults, now_ns: int) -> None:
        """Read one JSON document: a list of objects, or ``{"rows": [...]}``."""
        try:
            document = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            faults.add(error.lineno, error.colno, f"not JSON: {error.msg}")
            return
        if isinstance(document, dict) and set(document) == {"rows"}:
            document = document["rows"]
        items = document if isinstance(document, list) else [document]
        self._items(enumerate(items, 1), points, faults, now_ns)

    def _items(
        self, items: Iterable[tuple[int, Any]], points: Points, faults: Faults, now_ns: int
    ) -> None:
        for number, item in items:
            try:
                if not isinstance(item, dict):
                    raise Refused(f"a {_name_of(item)}; expected an object")
                if "plugin" in item and "dsnames" in item:
                    self._collectd(item, points, now_ns)
                else:
                    self._row(item, points, now_ns)
            except Refused as error:
                faults.add(number, 1, str(error), error.reason)

    def _row(self, item: dict[str, Any], points: Points, now_ns: int) -> None:
        for key in item.keys() - _KEYS:
            near = difflib.get_close_matches(key, _KEYS, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(_KEYS))}"
            raise Refused(f"unknown key '{key[:60]}'; {hint}")
        values = _mapping(item, "values")
        kinds, units = _mapping(item, "kinds"), _texts(item, "units")
        for what, given in (("kinds", kinds), ("units", units)):
            for name in given.keys() - values.keys():
                raise Refused(f"{what}: there is no value '{name[:60]}'")
        columns, listed = [], []
        marks: dict[int, Mark] = {}
        for number, (name, value) in enumerate(values.items()):
            kind = _kind(name, value, kinds.get(name))
            columns.append(Column(name, kind, units.get(name), store_int=name in kinds))
            listed.append(_checked(name, kind, value))
            if value is None:
                marks[number] = Mark(Quality.BAD, "null")
        labels = _texts(item, "labels")
        if item.get("module") is not None:
            labels = {**labels, "module": _text(item, "module")}
        device = _text(item, "device") if item.get("device") is not None else self._sender
        shape = Shape(device, _text(item, "table"), tuple(sorted(labels.items())), tuple(columns))
        table = self._shapes.table(shape)
        if item.get("quality"):
            marks |= _marks(_texts(item, "quality"), {c: i for i, c in enumerate(table.columns)})
        time_ns = item.get("time_ns")
        if time_ns is not None:
            if type(time_ns) is not int:
                raise Refused(f"time_ns: a {_name_of(time_ns)}; expected a whole number")
            time_ns = check_time(time_ns, now_ns)
        points.add(table, time_ns, listed, marks)

    def _collectd(self, item: dict[str, Any], points: Points, now_ns: int) -> None:
        """A value list of collectd's write_http plugin; null is what it could not measure."""
        names, values = item["dsnames"], item.get("values")
        if not isinstance(names, list) or not isinstance(values, list):
            raise Refused("values, dsnames: expected lists")
        if len(names) != len(values) or not all(isinstance(name, str) for name in names):
            raise Refused("dsnames: expected a name for each of the values")
        columns = tuple(Column(name, "f8") for name in names)
        labels = {
            key: _text(item, key)
            for key in ("plugin_instance", "type", "type_instance")
            if item.get(key)
        }
        host = _text(item, "host") if item.get("host") else self._sender
        shape = Shape(host, _text(item, "plugin"), tuple(sorted(labels.items())), columns)
        table = self._shapes.table(shape)
        listed = [_checked(name, "f8", v) for name, v in zip(names, values, strict=True)]
        bad = Mark(Quality.BAD, "nan")
        marks = {number: bad for number, value in enumerate(listed) if value is None}
        time_s = item.get("time")
        if not isinstance(time_s, int | float):
            raise Refused("time: expected seconds since 1970")
        points.add(table, check_time(round(float(time_s) * 1e9), now_ns), listed, marks)


def _kind(name: str, value: Any, given: Any) -> Kind:
    if given is not None:
        if given not in KINDS:
            raise Refused(f"kinds: '{given}' of '{name[:60]}'; expected {', '.join(KINDS)}")
        kind: Kind = given
        return kind
    if isinstance(value, bool):
        return "b1"
    return "str" if isinstance(value, str) else "f8"


def _checked(name: str, kind: Kind, value: Any) -> Scalar:
    """The value, where it is one of that kind. Refused where not."""
    if value is None:
        return None
    good = {"b1": (bool,), "str": (str,), "i8": (int,), "u8": (int,)}.get(kind, (int, float))
    if type(value) not in good:
        raise Refused(f"'{name[:60]}': a {_name_of(value)}; expected {kind}")
    if kind in _BOUNDS and not _BOUNDS[kind][0] <= value <= _BOUNDS[kind][1]:
        raise Refused(f"'{name[:60]}': {value} does not fit {kind}")
    scalar: Scalar = value
    return scalar


def _marks(given: Mapping[str, str], columns: dict[str, int]) -> dict[int, Mark]:
    marks: dict[int, Mark] = {}
    for name, text in given.items():
        if text == "GOOD" and name in columns:
            continue
        quality, _, reason = text.partition(":")
        marks |= parse_quality(f"{name}={quality}:{reason_text(reason)}", columns)
    return marks


def _mapping(item: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = item.get(key, None)
    if found is None and key != "values":
        return {}
    if not isinstance(found, dict):
        raise Refused(f"{key}: expected an object")
    return found


def _texts(item: Mapping[str, Any], key: str) -> dict[str, str]:
    found = _mapping(item, key)
    if not all(isinstance(value, str) for value in found.values()):
        raise Refused(f"{key}: expected texts")
    return found


def _text(item: Mapping[str, Any], key: str) -> str:
    found = item.get(key)
    if not isinstance(found, str):
        raise Refused(f"{key}: expected text")
    return found


def _name_of(value: Any) -> str:
    names = {dict: "object", list: "list", str: "text", bool: "boolean", int: "whole number",
             float: "number", type(None): "null"}  # fmt: skip
    return names.get(type(value), "value")
