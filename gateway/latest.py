"""The latest row of every table: what the status, the live page and the CLI show."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from gateway.model import Row, Table


class Latest:
    """Table -> its newest row. Written by producers, read by anyone; no lock is needed for that."""

    def __init__(self) -> None:
        self._rows: dict[Table, Row] = {}
        self._aside: dict[Table, Row] = {}

    def put(self, row: Row) -> None:
        """Keep this row as the newest of its table."""
        self._rows[row.table] = row

    def get(self, table: Table) -> Row | None:
        """The newest row, None before the first."""
        return self._rows.get(table) or self._aside.get(table)

    def put_aside(self, row: Row) -> None:
        """Keep a row for those who ask for its table, but not among `rows`."""
        self._aside[row.table] = row

    def keep_aside(self, tables: Collection[Table]) -> None:
        """Drop what was put aside of all other tables."""
        for table in self._aside.keys() - set(tables):
            self._aside.pop(table, None)

    def rows(self, device: str | None = None) -> Iterator[Row]:
        """The newest rows of all tables, or of one device's."""
        for row in list(self._rows.values()):
            if device is None or row.table.device == device:
                yield row

    def drop(self, table: Table) -> None:
        """There is no newest row of this table any more."""
        self._rows.pop(table, None)

    def forget(self, device: str) -> None:
        """Drop a device's rows (it was removed from the configuration)."""
        for table in [t for t in self._rows if t.device == device]:
            del self._rows[table]
