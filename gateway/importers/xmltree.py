"""XML as a small tree that knows its lines, without anything by which a file could do harm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from gateway.errors import ConfigError, Place
from gateway.importers.files import stop

MAX_DEPTH = 200
MAX_ELEMENTS = 500_000


@dataclass(slots=True)
class Element:
    """One element; its name and attributes without their namespaces."""

    name: str
    attributes: dict[str, str]
    place: Place
    children: list[Element] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    """Its text, in the pieces in which it came."""

    @property
    def text(self) -> str:
        """Its own text."""
        return "".join(self.parts)

    def child(self, *path: str) -> Element | None:
        """The first element at a path of names."""
        here: Element | None = self
        for name in path:
            here = next((c for c in here.children if c.name == name), None) if here else None
        return here

    def said(self, *path: str) -> str:
        """The text of the first element at a path; empty where there is none."""
        found = self.child(*path)
        return found.text.strip() if found else ""

    def all(self, *names: str) -> Iterator[Element]:
        """All elements below that have one of these names."""
        waiting = list(reversed(self.children))
        while waiting:
            element = waiting.pop()
            if element.name in names:
                yield element
            waiting.extend(reversed(element.children))


def parse_xml(raw: bytes, file: str) -> Element:
    """The root element.

    Raises:
        ConfigError: not well formed, a DOCTYPE (entities could make a file endless), too deep.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    root = Element("", {}, Place(file, 1, 1, ""))
    path = [root]
    count = 0

    def here() -> Place:
        return Place(file, parser.CurrentLineNumber, parser.CurrentColumnNumber + 1, "")

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if len(path) > MAX_DEPTH:
            raise stop(here(), f"elements are nested deeper than {MAX_DEPTH}")
        if count > MAX_ELEMENTS:
            raise stop(here(), f"the file has more than {MAX_ELEMENTS:,} elements")
        plain = {key.rpartition(":")[2]: value for key, value in attributes.items()}
        element = Element(name.rpartition(":")[2], plain, here())
        path[-1].children.append(element)
        path.append(element)

    def end(_name: str) -> None:
        path.pop()

    def characters(text: str) -> None:
        path[-1].parts.append(text)

    def doctype(*_: object) -> None:
        raise stop(here(), "the file has a DOCTYPE, which no export of TIA Portal has; remove it")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(raw, True)
    except expat.ExpatError as error:
        place = Place(file, error.lineno, error.offset + 1, "")
        raise stop(place, f"this XML is broken: {expat.ErrorString(error.code)}") from None
    except ConfigError:
        raise
    except (ValueError, LookupError) as error:  # an encoding that there is not
        raise stop(here(), f"this XML cannot be read: {error}") from None
    return root
