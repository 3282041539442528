"""Names that a map may have: legal, and each once."""

from __future__ import annotations

import re

from gateway.errors import Place
from gateway.importers.made import Report
from gateway.model import OWN_TABLES, RESERVED

MAX_LENGTH = 80

_OTHER = re.compile(r"\W+")


def legal(name: str) -> str:
    """The name with underscores for what an expression could not name; never empty."""
    plain = _OTHER.sub("_", name).strip("_")[:MAX_LENGTH].rstrip("_")
    return plain or "unnamed"


class Names:
    """The names of one table, with all the columns that arrays make of them."""

    def __init__(self, report: Report, reserved: frozenset[str] = RESERVED) -> None:
        self._report = report
        self._taken = set(reserved)
        self._reserved = reserved
        self._next: dict[str, int] = {}

    def take(self, name: str, place: Place, count: int | None = None) -> str:
        """A legal name that is still free, also with ``_0`` to ``_count - 1`` behind it.

        ``name`` may have dots between the parts of a path. What had to change is reported.
        """
        wanted = "_".join(legal(part) for part in name.split("."))[:MAX_LENGTH].rstrip("_")
        found, why = wanted, "to be legal"
        if wanted in self._reserved:
            found, why = f"{wanted}_value", f"because '{wanted}' is reserved"
        number = self._next.get(wanted, 2)
        while not self._free(found, count):
            why = f"because '{wanted}' exists already"
            found = f"{wanted}_{number}"
            number += 1
        self._next[wanted] = number
        self._taken.update(self._columns(found, count))
        if found != name.replace(".", "_"):
            self._report.rename(place, f"'{name}' is '{found}' in the map, {why}")
        return found

    def _free(self, name: str, count: int | None) -> bool:
        return self._taken.isdisjoint(self._columns(name, count))

    @staticmethod
    def _columns(name: str, count: int | None) -> list[str]:
        # an array of one is one column without a number
        return [name, *(f"{name}_{n}" for n in range(count or 0))]


def table_names(report: Report) -> Names:
    """For groups, modules and what is placed: they name tables and labels."""
    return Names(report, OWN_TABLES)
