"""Walks one file and collects what is wrong with it, so that one pass tells all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gateway.config.validation import S, describe, name_fault, repair, validate
from gateway.errors import Fault
from gateway.yamlfile.document import Document, Path_, Section

ENTRIES = "`key: value` entries"


class Collector:
    """A document and its faults so far."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.faults: list[Fault] = list(document.faults)

    def fault(self, path: Path_, message: str, *, key: bool = False) -> None:
        """Note a fault of the value (or the key) at ``path``."""
        self.faults.append(self.document.place(path, key=key).fault(message))

    def has_fault(self, path: Path_) -> bool:
        """Whether the value's text is at fault already."""
        return self.document.place(path)[1:3] in self.document.bad

    def section(self, path: Path_) -> Section | None:
        """The section at ``path``, None where there is none."""
        value: Any = self.document.root
        for part in path:
            value = value.get(str(part), None)
            if not isinstance(value, Section):
                return None
        section: Section = value
        return section

    def entries(self, path: Path_) -> Iterator[tuple[str, Section]]:
        """The named sections below ``path``; faults for bad names and for what is no section."""
        for name, value in (self.section(path) or {}).items():
            wrong = name_fault(name)
            if wrong:
                self.fault((*path, name), wrong, key=True)
            if isinstance(value, Section):
                yield name, value
            elif not self.has_fault((*path, name)):
                found = describe(value, self.document.text((*path, name)))
                self.fault((*path, name), f"expected {ENTRIES}, found {found}")

    def validate(
        self, cls: type[S], section: dict[str, object], path: Path_
    ) -> tuple[S | None, S | None]:
        """The settings, None where they have faults; and what can be used to look for more."""
        settings, faults = validate(cls, section, self.document, path)
        for fault in faults:
            misread = self.document.bad.get(fault.place[1:3])
            if misread and misread.fault in self.faults:
                self.faults.remove(misread.fault)  # the new one knows what was expected
        self.faults += faults
        return settings, settings or repair(cls, section)

    def choice(
        self, section: Section, path: Path_, key: str, known: Callable[[], Iterable[str]]
    ) -> str | None:
        """The word that says what kind of section this is; a fault where there is none."""
        word = section.get(key)
        if isinstance(word, str):
            return word
        expected = " or ".join(known())
        if key not in section:
            self.fault(path, f"'{key}' is missing; expected {expected}", key=True)
        elif not self.has_fault((*path, key)):
            found = describe(word, self.document.text((*path, key)))
            self.fault((*path, key), f"expected {expected}, found {found}")
        return None
