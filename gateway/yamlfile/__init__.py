"""YAML files become data with positions: `Section`, `Items`, text, numbers, truth values and None.

Built from parser events, so that neither depth nor aliases of a hostile file can exhaust the
stack or the memory.
"""

from __future__ import annotations

import gc
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from gateway.errors import ConfigError, Fault, Place
from gateway.yamlfile.document import (
    Document,
    Items,
    Misread,
    Path_,
    Section,
    Spot,
    dotted,
    shown,
)
from gateway.yamlfile.scalars import Ambiguous, is_text, plain_scalar

MAX_BYTES = 32_000_000
"""Largest file: about 400,000 tags."""

MAX_DEPTH = 32
"""Deepest nesting; a gateway's file needs 6."""

MAX_NODES = 6_000_000
"""Most keys and values, counted with everything that aliases repeat."""

MAX_ALIASED = 100_000
"""Most keys and values that aliases may repeat."""

_PRINTABLE = "\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff"
_UNPRINTABLE = re.compile(f"[^{_PRINTABLE}]")


def read_yaml(path: Path) -> Document:
    """Read and parse one file.

    ConfigError where there is no mapping to work with: unreadable, not UTF-8, syntax, too large.
    """
    document = Document(path, shown(path), Section(1, 1))
    text = _read(document)
    builder = _Builder(document, text)
    try:
        with gc_paused():
            root = builder.build()
    except yaml.MarkedYAMLError as error:
        raise ConfigError([*document.faults, _syntax(document, text, error)]) from None
    except yaml.YAMLError as error:
        fault = Place(document.file, 1, 1, "").fault(f"not valid YAML: {error}")
        raise ConfigError([*document.faults, fault]) from None
    except _StopError as error:
        raise ConfigError([*document.faults, error.fault]) from None
    if not isinstance(root, Section):
        found = "the file is empty" if root is None else "the file is not a mapping"
        fault = Place(document.file, 1, 1, "").fault(f"{found}; expected `key: value` lines")
        raise ConfigError([*document.faults, fault])
    document.root = root
    return document


@contextmanager
def gc_paused() -> Iterator[None]:
    """No garbage collection in here: a million live objects would be walked over and over."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read(document: Document) -> str:
    whole = Place(document.file, 0, 0, "")
    path = document.path
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise ConfigError([whole.fault("this is not a file; expected a YAML file")])
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError([whole.fault("there is no such file")]) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError([whole.fault(f"cannot be read: {why}")]) from None
    first = Place(document.file, 1, 1, "")
    if len(raw) > MAX_BYTES:
        message = f"the file is too large; expected at most {MAX_BYTES // 1_000_000} MB"
        raise ConfigError([first.fault(message)])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, col = _position(raw[: error.start].decode("utf-8", "replace"))
        fault = Place(document.file, line, col, "").fault(
            f"byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
        )
        raise ConfigError([fault]) from None
    control = _UNPRINTABLE.search(text)
    if control:
        line, col = _position(text[: control.start()])
        message = f"control character U+{ord(control.group()):04X} in the text; remove it"
        raise ConfigError([Place(document.file, line, col, "").fault(message)])
    return text


def _position(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _syntax(document: Document, text: str, error: yaml.MarkedYAMLError) -> Fault:
    if (open_quote := _open_quote(document, text, error)) is not None:
        return open_quote
    mark = error.problem_mark or error.context_mark
    if mark is not None and "maximum nesting depth" in (error.problem or ""):
        # libyaml looks ahead through opening brackets, and gives up long after our own bound
        line, col = _too_deep(text, mark.index)
        place = Place(document.file, line, col, "")
        return place.fault(f"nested deeper than {MAX_DEPTH} levels")
    line, col = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    place = Place(document.file, line, col, "")
    lines = text.splitlines()
    here = lines[line - 1] if line <= len(lines) else ""
    problem = error.problem or "syntax error"
    if "\t" in here[:col] and not here[: col - 1].strip():
        problem = "a tab in the indentation; use spaces"
    elif "mapping values are not allowed" in problem:
        problem = "a second `: ` in one line, or wrong indentation; quote text that contains `: `"
    elif "did not find expected key" in problem:
        problem = "wrong indentation, or a missing quote or bracket before this"
    elif error.context_mark is not None and error.context_mark.line + 1 != line:
        problem += f" ({error.context}, begun in line {error.context_mark.line + 1})"
    return place.fault(f"not valid YAML: {problem}")


def _too_deep(text: str, end: int) -> tuple[int, int]:
    """Line and column of the bracket that opens one level too many, before ``end``."""
    depth = 0
    for index, char in enumerate(text[:end]):
        depth += (char in "[{") - (char in "]}")
        if depth > MAX_DEPTH:
            before = text[:index]
            return before.count("\n") + 1, index - before.rfind("\n")
    return text[:end].count("\n") + 1, 1


def _open_quote(document: Document, text: str, error: yaml.MarkedYAMLError) -> Fault | None:
    """The quote without an end that is to blame for the error: it took the next one for its end.

    It is the last one of several lines, if it ends where the error was seen.
    """
    ends = {mark.line for mark in (error.problem_mark, error.context_mark) if mark is not None}
    closed = "is never closed"
    begun: Any = None
    if error.context == "while scanning a quoted scalar":
        begun = error.context_mark
    with suppress(yaml.YAMLError):
        for event in yaml.parse(text, _Parser):
            if isinstance(event, yaml.ScalarEvent) and event.style in ("'", '"'):
                first: Any = event.start_mark
                last: Any = event.end_mark
                if first.line < last.line and last.line in ends:
                    begun, closed = first, f"is closed only in line {last.line + 1}"
    if begun is None:
        return None
    place = Place(document.file, begun.line + 1, begun.column + 1, "")
    return place.fault(f"not valid YAML: the quote that begins here {closed}; where should it end?")


class _StopError(Exception):
    """Nothing after this can be trusted."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault


class _Parser(yaml.CSafeLoader):
    """libyaml's event parser; the global loaders stay untouched."""


class _Builder:
    """Events to data."""

    def __init__(self, document: Document, text: str) -> None:
        self._document = document
        parser: Any = _Parser(text)
        self._next = parser.get_event
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = 0
        self._aliased = 0
        self._known: dict[str, Any] = {}

    def build(self) -> Any:
        """The data of the only document in the file."""
        self._next()  # stream start
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        event = self._next()
        root = self._value(event, ())
        self._next()  # document end
        event = self._next()
        if not isinstance(event, yaml.StreamEndEvent):
            raise self._stop(event, (), "a second document (`---`); expected one in a file")
        return root

    def _place(self, event: Any, path: Path_) -> Place:
        mark = event.start_mark
        return Place(self._document.file, mark.line + 1, mark.column + 1, dotted(path))

    def _stop(self, event: Any, path: Path_, message: str) -> _StopError:
        return _StopError(self._place(event, path).fault(message))

    def _fault(
        self, event: Any, path: Path_, message: str, ambiguous: Ambiguous | None = None
    ) -> None:
        fault = self._place(event, path).fault(message)
        self._document.faults.append(fault)
        self._document.bad[fault.place[1:3]] = Misread(fault, ambiguous)

    def _value(self, event: Any, path: Path_) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._stop(event, path, "the file has too many entries; divide it")
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, path)
            if event.anchor:
                self._anchors[event.anchor] = (value, 1)
            return value
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        if len(path) >= MAX_DEPTH:
            raise self._stop(event, path[:4], f"nested deeper than {MAX_DEPTH} levels")
        if event.tag is not None:
            self._fault(event, path, f"the YAML tag {_tag(event)} is not supported; remove it")
        before = self._nodes
        mapping = isinstance(event, yaml.MappingStartEvent)
        built = self._mapping(event, path) if mapping else self._sequence(path)
        if event.anchor:
            self._anchors[event.anchor] = (built, self._nodes - before + 1)
        return built

    def _alias(self, event: Any, path: Path_) -> Any:
        if event.anchor not in self._anchors:
            self._fault(event, path, f"there is no anchor &{event.anchor} before this")
            return None
        value, nodes = self._anchors[event.anchor]
        self._nodes += nodes
        self._aliased += nodes
        if self._aliased > MAX_ALIASED:
            message = f"aliases repeat more than {MAX_ALIASED:,} entries; write the file out"
            raise self._stop(event, path, message)
        return value

    def _sequence(self, path: Path_) -> Items:
        items = Items()
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            mark = event.start_mark
            line, col = mark.line + 1, mark.column + 1
            text = event.value if isinstance(event, yaml.ScalarEvent) else None
            items.append(self._value(event, (*path, len(items))))
            items.spots.append(Spot(line, col, line, col, text))
        return items

    def _mapping(self, start: Any, path: Path_) -> Section:
        section = Section(start.start_mark.line + 1, start.start_mark.column + 1)
        spots = section.spots
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event, path)
            value_event = self._next()
            mark, value_mark = event.start_mark, value_event.start_mark
            line = mark.line + 1
            value_line = value_mark.line + 1
            value = self._value(value_event, (*path, key))
            if key in spots:
                message = f"the key '{key}' exists already (line {spots[key].line})"
                self._fault(event, (*path, key), message)
                continue
            text = value_event.value if isinstance(value_event, yaml.ScalarEvent) else None
            spots[key] = Spot(
                line,
                mark.column + 1,
                line if value_line == line else value_line,
                value_mark.column + 1,
                text,
            )
            section[key] = value
        return section

    def _key(self, event: Any, path: Path_) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            raise self._stop(event, path, "a key must be text; a bracket or `?` too many?")
        self._nodes += 1
        key: str = event.value
        if event.tag is not None and event.tag != "!":
            self._fault(event, path, f"the YAML tag {_tag(event)} is not supported; remove it")
        elif event.implicit[0]:
            if key == "<<":
                self._fault(event, path, "merge keys (`<<`) are not supported; write it out")
            elif not is_text(key):
                self._fault(event, (*path, key), f'a key must be text; quote it: "{key}"')
        return key

    def _scalar(self, event: Any, path: Path_) -> Any:
        text = event.value
        if event.tag is not None and event.tag != "!":
            self._fault(event, path, f"the YAML tag {_tag(event)} is not supported; remove it")
            return None
        if not event.implicit[0]:
            return text
        if text in self._known:
            return self._known[text]
        try:
            value = plain_scalar(text)
        except ValueError as error:
            ambiguous = error if isinstance(error, Ambiguous) else None
            self._fault(event, path, str(error), ambiguous)
            return None
        self._known[text] = value
        return value


def _tag(event: Any) -> str:
    tag: str = event.tag
    return tag.replace("tag:yaml.org,2002:", "!!")
