"""The tables that senders make: checked names, a bounded number, each made once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Final, Literal, NamedTuple, get_args

from gateway.model import RESERVED, VIA, Column, Table

MAX_NAME = 200
MAX_LABELS = 30
OWN = "gateway"
"""The device under which the gateway speaks of itself, and how the names of its tables begin."""


Reason = Literal["form", "name", "device", "time", "quality", "tables"]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
"""Why rows are refused, in a word: they are not written as they should be; a name or a number of
columns; the gateway reads that device itself; the time; the marks; there are too many tables."""


class Refused(ValueError):
    """A row cannot be taken, for good; says why and what was expected."""

    def __init__(self, words: str, reason: Reason = "form") -> None:
        self.reason: Reason = reason
        super().__init__(words)


class Shape(NamedTuple):
    """What tells tables apart. ``labels``: the sender's own, sorted, without gateway and device."""

    device: str
    name: str
    labels: tuple[tuple[str, str], ...]
    columns: tuple[Column, ...]


class Shapes:
    """Makes each table once. From any thread."""

    def __init__(
        self,
        gateway: str,
        max_tables: int,
        max_columns: int,
        is_configured: Callable[[str], bool],
    ) -> None:
        self._gateway = gateway
        self._max_tables = max_tables
        self._max_columns = max_columns
        self._is_configured = is_configured
        self._tables: dict[Shape, Table] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._tables)

    def tables(self) -> Collection[Table]:
        """All tables of devices that the gateway itself does not read."""
        with self._lock:
            found = list(self._tables.values())
        return [table for table in found if not self._is_configured(table.device)]

    def check_device(self, device: str) -> None:
        """Refused where the gateway itself reads a device of that name; that may change."""
        if self._is_configured(device):
            raise Refused(
                f"device '{device}' is read by this gateway itself; expected another name",
                "device",
            )

    def table(self, shape: Shape) -> Table:
        """The table of this shape. Refused where its names are none, or there are too many."""
        self.check_device(shape.device)
        found = self._tables.get(shape)
        if found is None:
            self._check(shape)
            with self._lock:
                found = self._tables.get(shape)
                if found is None:
                    if len(self._tables) >= self._max_tables:
                        raise Refused(
                            f"senders have made {self._max_tables} tables already; expected fewer "
                            "different labels and columns, or a higher ingest.max_tables",
                            "tables",
                        )
                    found = self._tables[shape] = self._made(shape)
        return found

    def _made(self, shape: Shape) -> Table:
        given = dict(shape.labels)
        labels = [("gateway", self._gateway), ("device", shape.device)]
        labels += [(key, given.pop(key)) for key in ("module", "channel") if key in given]
        if len(labels) == 2 and given:
            # what tells equally named tables of a device apart, where the sender has no word for it
            labels.append(("module", ".".join(given.values())))
        labels += sorted([*given.items(), VIA])
        # no interval: what a stop leaves out was not acknowledged and comes again, it is no loss
        return Table(shape.name, shape.device, shape.columns, labels, "ingest", steady=False)

    def _check(self, shape: Shape) -> None:
        check_name("the device", shape.device)
        if shape.device == OWN:
            raise Refused(f"device '{OWN}' is the gateway itself; expected another name", "name")
        check_name("the table", shape.name)
        if shape.name.startswith(f"{OWN}_"):
            raise Refused(f"table '{shape.name}': names of the gateway's own begin so", "name")
        if not shape.columns:
            raise Refused("no values; expected at least one column", "name")
        if len(shape.columns) > self._max_columns:
            raise Refused(
                f"{len(shape.columns)} columns; expected at most {self._max_columns}", "name"
            )
        if len(shape.labels) > MAX_LABELS:
            raise Refused(f"{len(shape.labels)} labels; expected at most {MAX_LABELS}", "name")
        seen: set[str] = set()
        for column in shape.columns:
            check_name("a column", column.name)
            if column.name in RESERVED:
                raise Refused(f"a column '{column.name}': that name is the gateway's own", "name")
            if column.name in seen:
                raise Refused(f"column '{column.name}' comes twice", "name")
            seen.add(column.name)
            if column.unit is not None:
                check_name("a unit", column.unit)
        for key, value in shape.labels:
            check_name("a label", key)
            check_name(f"label '{key}'", value)
            if key in ("gateway", "device", "time", "_quality", VIA[0]):
                raise Refused(f"a label '{key}': that name is the gateway's own", "name")
            if key in seen:
                raise Refused(f"'{key}' is a label and a column", "name")
        self._check_keys([key for key, _ in shape.labels])

    @staticmethod
    def _check_keys(keys: Sequence[str]) -> None:
        if len(set(keys)) < len(keys):
            raise Refused("a label comes twice", "name")


def check_name(what: str, text: str) -> None:
    """Refused where that cannot be a name."""
    if not text:
        raise Refused(f"{what}: an empty name", "name")
    if len(text) > MAX_NAME:
        raise Refused(
            f"{what}: a name of {len(text)} characters; expected at most {MAX_NAME}", "name"
        )
    if not text.isprintable() or text != text.strip():
        shown = text.encode("unicode_escape").decode()[:60]
        raise Refused(
            f"{what}: '{shown}' is no name; expected text without control characters", "name"
        )
