"""Clients of `/ws/live` that want the same: which rows are due to them, and what each still lacks.

Each table goes out at most once a period, the newest row of it; rows of several tables that come
shortly after each other go in one push. Pushes are numbered: a client that was too slow for some
gets the newest of what was in them, and is told how many rows it did not get.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from gateway.api.livechoice import Choice
from gateway.api.livetext import Pick
from gateway.hub import Subscription
from gateway.model import Row, Table

HISTORY_CELLS = 400_000
"""Most values that wait for a client that wants every row: 40 rows of 10,000 tags."""

BUNDLE = 0.2
"""Pushes of one feed are at least this part of a period apart: 20 ms at 10 Hz."""

SLACK_S = 0.002
"""A row that comes so much before its period's end is not held up by it: clocks of polls jitter."""

NOTHING = -1
"""The number of the last push of a client that had none yet."""


class Listener(Protocol):
    """A client as its feed sees it."""

    seen: int
    """Number of the last push that it has; NOTHING before the first."""
    missed: int
    """Rows of pushes that it was too slow for, since the last one that it took."""
    dropped: int
    """Rows that it was told of as dropped."""

    @property
    def is_ready(self) -> bool:
        """Whether all that it was given is on its way."""

    def hand(self, frames: list[bytes]) -> None:
        """Take messages; they go out as the client reads them."""

    def end(self) -> None:
        """Close the connection: the gateway cannot go on."""


class Rows(Subscription):
    """Every row that a feed wants; the oldest go where it is too slow."""

    def __init__(self) -> None:
        super().__init__("live", HISTORY_CELLS, wake_at=1 << 30)


class Came(NamedTuple):
    """A row, and when it was published, by the monotonic clock."""

    row: Row
    at_s: float


class Sent(NamedTuple):
    """A row that was pushed: in which push, and when that was due."""

    push: int
    at_s: float
    row: Row


class Feed:
    """Clients that want the same at the same rate."""

    def __init__(self, choice: Choice, period_s: float, rows: Rows | None = None) -> None:
        self.choice = choice
        self.period_s = period_s
        self.rows = rows
        """Where every row is wanted; else only the newest."""
        self.members: dict[Listener, None] = {}
        self.told: dict[Table, int] = {}
        """Where every row is wanted: the tables whose shape the client has, and its newest time."""
        self.rest_until_s = 0.0
        """No push before this time."""
        self.is_late = False
        """Whether some member may lack a push, such as one that is new."""
        self.hurries = False
        """Whether a member is new, which waits for no period."""
        self.push = 0
        """Number of the last push."""
        self._picks: dict[Table, Pick | None] = {}
        self._waiting: dict[Table, Came] = {}
        self._sent: dict[Table, Sent] = {}
        self._born: dict[Table, int] = {}
        """Number of the push in which a table was the first time."""

    def pick(self, table: Table) -> Pick | None:
        """The columns that it wants of a table."""
        if table not in self._picks:
            self._picks[table] = self.choice.pick(table)
        return self._picks[table]

    def take(self, came: Came) -> None:
        """A row came: the newest of its table."""
        table, sent = came.row.table, self._sent.get(came.row.table)
        if sent is not None and sent.row is came.row:
            return  # it was the newest that was known when a client came
        if self.rows is None and self.pick(table) is not None:
            self._waiting[table] = came

    def is_news(self, row: Row) -> bool:
        """Where every row is wanted: whether it is later than what the client has of its table.

        At the beginning a row may come twice: as the newest that is known, and as it is published.
        """
        if row.time_ns <= self.told.get(row.table, -1):
            return False
        self.told[row.table] = row.time_ns
        return True

    def join(self, client: Listener, newest: Iterable[Row]) -> None:
        """A client that has nothing yet."""
        self.members[client] = None
        client.seen = NOTHING
        if self.rows is not None:
            for row in newest:
                if self.pick(row.table) is not None:
                    self.rows.put(row)
            return
        self.is_late = self.hurries = True
        for row in newest:
            self.take(Came(row, 0.0))

    def forget(self, table: Table) -> None:
        """The table is gone."""
        for known in (self._picks, self._waiting, self._sent, self._born, self.told):
            known.pop(table, None)

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until there is something to push; None: nothing waits."""
        rest_s = max(0.0, self.rest_until_s - now_s)
        if self.rows is not None:
            return rest_s if self.rows and any(m.is_ready for m in self.members) else None
        if self.hurries:
            return 0.0
        if self.is_late:
            return rest_s
        if not self._waiting:
            return None
        first_s = min(self._due_s(table) for table in self._waiting)
        return max(rest_s, first_s - now_s)

    def _due_s(self, table: Table) -> float:
        sent = self._sent.get(table)
        return 0.0 if sent is None else sent.at_s + self.period_s - SLACK_S

    def begin(self, now_s: float) -> set[Table]:
        """Begin a push, with all that is due now; the tables in it."""
        due = {t for t in self._waiting if self.hurries or self._due_s(t) <= now_s}
        self.is_late = self.hurries = False
        if due:
            self.push += 1
            self.rest_until_s = now_s + self.period_s * BUNDLE
        for table in due:
            row, came_s = self._waiting.pop(table)
            # not now: being late once must not hold up the rows that follow
            at_s = max(came_s, self._due_s(table))
            self._sent[table] = Sent(self.push, at_s, row)
            self._born.setdefault(table, self.push)
        return due

    def lacks(self, seen: int, due: set[Table]) -> Iterator[tuple[Pick, Row, bool]]:
        """What a client lacks that has the pushes until ``seen``: whether it is a new shape, too.

        ``due`` are the tables of the last push.
        """
        tables: Iterable[Table] = due if due and seen == self.push - 1 else list(self._sent)
        for table in tables:
            sent = self._sent.get(table)
            pick = self.pick(table)
            if sent is not None and pick is not None and sent.push > seen:
                yield pick, sent.row, self._born[table] > seen
