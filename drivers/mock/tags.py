"""The tags of a mock map: their types, and whether a signal suits them."""

from __future__ import annotations

import difflib
import re
from typing import Any, cast

import numpy as np
from pydantic import Field

from drivers.mock.rows import Shape
from drivers.mock.signals import BadWindow, Signal, Sum
from drivers.mock.standin import likely_signal
from gateway.decode import Scaling, Wire, column_of, kind_of, scaling
from gateway.driver import TableSpec, TagConfig, check_columns
from gateway.errors import Fault
from gateway.model import Column, Kind

TYPES = {
    "bool": "b1", "byte": "u1", "word": "u2", "dword": "u4", "lword": "u8",
    "sint": "i1", "int": "i2", "dint": "i4", "lint": "i8",
    "usint": "u1", "uint": "u2", "udint": "u4", "ulint": "u8",
    "real": "f4", "lreal": "f8", "string": "str",
}  # fmt: skip
"""Type in a map, as in IEC 61131-3 -> numpy type."""

_OTHER_NAMES = {
    "boolean": "bool", "bit": "bool", "int8": "sint", "uint8": "usint", "int16": "int",
    "uint16": "uint", "int32": "dint", "uint32": "udint", "int64": "lint", "uint64": "ulint",
    "float": "real", "float32": "real", "double": "lreal", "float64": "lreal",
    "char": "string", "str": "string", "text": "string", "wstring": "string",
}  # fmt: skip

_TYPE = re.compile(r"([a-z]+)(?:\[([1-9][0-9]{0,3})\])?")


class MockTag(TagConfig):
    """One tag of a mock map."""

    signal: Signal | None = Field(
        None, description="What the tag shows; left out: what its unit and name suggest."
    )
    bad: BadWindow | None = Field(None, description="Times in which the tag is not GOOD.")


def parse_table(spec: TableSpec, faults: list[Fault]) -> tuple[list[Column], list[Shape]]:
    """The columns of a table and what they show; adds to ``faults``."""
    columns: list[Column] = []
    shapes: list[Shape] = []
    places = []
    for tag in spec.tags:
        try:
            dtype, count = parse_type(tag.spec.type)
            column, shape = _parse_tag(tag.name, cast(MockTag, tag.spec), dtype)
        except ValueError as error:
            faults.append(tag.place.fault(str(error)))
            continue
        for n in range(count):
            name = tag.name if count == 1 else f"{tag.name}_{n}"
            columns.append(column._replace(name=name))
            shapes.append(shape)
            places.append(tag.place)
    faults += check_columns(spec, columns, places)
    return columns, shapes


def parse_type(text: str) -> tuple[str, int]:
    """The numpy type and the number of elements; ValueError for another type."""
    found = _TYPE.fullmatch(text)
    if found is None or found[1] not in TYPES:
        name = text.lower().split("[")[0]
        near = _OTHER_NAMES.get(name) or next(iter(difflib.get_close_matches(name, TYPES, 1)), None)
        hint = f"did you mean '{near}'?" if near else f"expected {', '.join(TYPES)}"
        raise ValueError(f"unknown type '{text}'; {hint}")
    dtype = TYPES[found[1]]
    # string[20] is one text, as in the other drivers
    return dtype, 1 if dtype == "str" else int(found[2] or 1)


def _parse_tag(name: str, spec: MockTag, dtype: str) -> tuple[Column, Shape]:
    by = scaling(spec.scale, spec.offset)
    kind: Kind = "str" if dtype == "str" else kind_of(Wire(dtype), by)
    column = column_of(name, spec, kind, by)
    if spec.address is not None or spec.at is not None:
        key = "address" if spec.address is not None else "at"
        raise ValueError(f"a tag of the mock has no {key}; leave it out")
    if spec.signal is None:
        likely = likely_signal(name, kind, spec.unit)
        return column, Shape(likely, dtype if by.trivial else kind, Scaling(), spec.bad)
    _check_signal(spec.signal, dtype, spec.type)
    return column, Shape(spec.signal, dtype, by, spec.bad)


def _check_signal(signal: Any, dtype: str, type_: str) -> None:
    if dtype == "str":
        if signal.kind not in ("constant", "steps", "choice"):
            raise ValueError(
                f"type {type_} cannot show '{signal.kind}'; use constant, steps or choice"
            )
        if signal.noise:
            raise ValueError(f"type {type_} has no noise")
        for value in _literals(signal):
            if not isinstance(value, str):
                shown = str(value).lower() if isinstance(value, bool) else value
                raise ValueError(f"type {type_} shows texts; write '{shown}' with quotes")
        return
    limits = np.iinfo(dtype if dtype[0] in "iu" else "i8")
    for term in signal.of if isinstance(signal, Sum) else [signal]:
        for value in _literals(term):
            if isinstance(value, str):
                raise ValueError(f"type {type_} cannot show the text '{value}'; expected a number")
            if dtype[0] in "iu" and not float(value).is_integer():
                raise ValueError(f"type {type_} cannot show {value:g}; expected a whole number")
            if dtype[0] in "iu" and not limits.min <= value <= limits.max:
                raise ValueError(
                    f"type {type_} cannot hold {value}; expected {limits.min} to {limits.max}"
                )


def _literals(signal: Any) -> list[Any]:
    if signal.kind == "constant":
        return [signal.value]
    return list(signal.values) if signal.kind in ("steps", "choice") else []
