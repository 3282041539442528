"""What an import makes: the parts of a device map, and what is to be told about them."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.errors import Fault, Place
from gateway.importers.files import clip


@dataclass(slots=True)
class MadeTag:
    """One tag of the map. ``where`` is its address, or its `at:` in a module."""

    name: str
    where: str
    type: str
    comment: str = ""
    unit: str | None = None
    scale: float = 1.0
    offset: float = 0.0
    order: str | None = None


@dataclass(slots=True)
class MadeModule:
    """A module of the map, from a PLC data type that is used several times."""

    name: str
    tags: list[MadeTag]
    comment: str = ""


@dataclass(slots=True)
class MadePlaced:
    """A module at its place in a group."""

    name: str
    use: str
    at: str
    comment: str = ""


@dataclass(slots=True)
class MadeGroup:
    """A group of the map, from a data block, a tag table or a register list."""

    name: str
    tags: list[MadeTag] = field(default_factory=list)
    placed: list[MadePlaced] = field(default_factory=list)
    comment: str = ""


@dataclass(slots=True)
class Report:
    """What the user must know besides the map."""

    omitted: list[Fault] = field(default_factory=list)
    """What is not in the map, and why."""
    warnings: list[Fault] = field(default_factory=list)
    """What is in it and should be looked at."""
    renamed: list[Fault] = field(default_factory=list)

    def omit(self, place: Place, message: str) -> None:
        """Note that something was left out."""
        self.omitted.append(place.fault(clip(message)))

    def rename(self, place: Place, message: str) -> None:
        """Note that a name is another one in the map."""
        self.renamed.append(place.fault(clip(message)))

    def warn(self, place: Place, message: str) -> None:
        """Note that something should be checked."""
        self.warnings.append(place.fault(clip(message)))


@dataclass(slots=True)
class Made:
    """The device map as it will be written."""

    driver: str
    groups: list[MadeGroup]
    modules: list[MadeModule] = field(default_factory=list)
    placeholders: list[str] = field(default_factory=list)
    """Names that a device must fill by `with:`."""

    @property
    def tags(self) -> int:
        """Tags as a device will have them; an array counts once."""
        sizes = {module.name: len(module.tags) for module in self.modules}
        return sum(len(g.tags) + sum(sizes[p.use] for p in g.placed) for g in self.groups)
