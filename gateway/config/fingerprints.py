"""What each part of a configuration depends on, as a short hash: where it is equal, it goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, TypeAlias

Fingerprints: TypeAlias = dict[str, dict[str, str]]
"""Kind (``device``, ``bus``, ``sink``, ``alarm``, ``settings``) -> name -> hash."""

KINDS = ("device", "bus", "sink", "alarm", "settings")


def fingerprint(*parts: Any) -> str:
    """Hash of plain data, of mappings without regard to their order."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(slots=True)
class Changes:
    """What differs between two configurations, by name."""

    added: list[tuple[str, str]] = field(default_factory=list)
    """(kind, name)."""
    removed: list[tuple[str, str]] = field(default_factory=list)
    changed: list[tuple[str, str]] = field(default_factory=list)

    def names(self, kind: str, *which: Sequence[tuple[str, str]]) -> list[str]:
        """The names of one kind in these lists."""
        return [name for each in which for k, name in each if k == kind]

    @property
    def nothing(self) -> bool:
        """Whether the two are the same."""
        return not (self.added or self.removed or self.changed)

    def lines(self) -> Iterator[str]:
        """The changes for people: ``device hopper_4: changed``."""
        for word, which in (
            ("removed", self.removed),
            ("changed", self.changed),
            ("added", self.added),
        ):
            for kind, name in which:
                yield f"{kind} {name}: {word}"


def compare(old: Mapping[str, Mapping[str, str]], new: Mapping[str, Mapping[str, str]]) -> Changes:
    """What a change from the old to the new one adds, removes and changes."""
    found = Changes()
    for kind in KINDS:
        before, after = old.get(kind, {}), new.get(kind, {})
        found.added += [(kind, n) for n in after if n not in before]
        found.removed += [(kind, n) for n in before if n not in after]
        found.changed += [(kind, n) for n in after if n in before and before[n] != after[n]]
    return found
