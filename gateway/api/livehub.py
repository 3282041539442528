"""Pushes rows to all clients of `/ws/live`: each row is encoded once, whoever listens.

Clients that have chosen the same share a feed. A row that comes when its feed's last push is longer
ago than its period goes out at once; otherwise it waits for the end of the period, and only the
newest of each table goes. While nobody listens, nothing here runs and no row comes in.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import anyio
import anyio.lowlevel
import anyio.to_thread
import orjson

from gateway.api.livechoice import Choice
from gateway.api.livetext import Pick, frame, values_frames
from gateway.hub import Hub, Subscription
from gateway.model import Row, Table

log = logging.getLogger("gateway.api")

MAX_HZ = 10.0
MIN_HZ = 0.1
STATUS_S = 1.0

HISTORY_CELLS = 400_000
"""Most values that wait for a client that wants every row: 40 rows of 10,000 tags."""

TURN_S = 0.0005
"""After so much work the others of the event loop have their turn."""


class Listener(Protocol):
    """A client as the hub sees it."""

    seen: int
    """The hub's count up to which it has all."""
    missed: int
    """Rows that it was too slow for and has not been told of yet."""

    @property
    def is_ready(self) -> bool:
        """Whether all that it was given is on its way."""

    def hand(self, frames: list[bytes]) -> None:
        """Take messages; they go out as the client reads them."""

    def end(self) -> None:
        """Close the connection: the gateway cannot go on."""


class _Turns:
    """Gives way to others now and then."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def take(self) -> None:
        if time.perf_counter() - self._since > TURN_S:
            await anyio.lowlevel.checkpoint()
            self._since = time.perf_counter()


class _Rows(Subscription):
    """Every row that a feed wants; the oldest go where it is too slow."""

    def __init__(self) -> None:
        super().__init__("live", HISTORY_CELLS, wake_at=1 << 30)


class Feed:
    """Clients that want the same at the same rate."""

    def __init__(self, choice: Choice, period_s: float, rows: _Rows | None = None) -> None:
        self.choice = choice
        self.period_s = period_s
        self.rows = rows
        """Where every row is wanted; else only the newest."""
        self.members: dict[Listener, None] = {}
        self.picks: dict[Table, Pick | None] = {}
        self.shaped: set[Table] = set()
        """Where every row is wanted: the tables whose shape the client has."""
        self.due = 0.0
        self.pushed = -1

    def pick(self, table: Table) -> Pick | None:
        """The columns that it wants of a table."""
        if table not in self.picks:
            self.picks[table] = self.choice.pick(table)
        return self.picks[table]


class LiveHub:
    """All feeds over one hub of rows. `put` is called from any thread, all else in the loop."""

    def __init__(self, hub: Hub, status: Callable[[], dict[str, Any]]) -> None:
        """``status`` gives the message that is told every second; it is called in a thread."""
        self._hub = hub
        self._status = status
        self._lock = threading.Lock()
        self._dirty: dict[Table, Row] = {}
        self._is_armed = False
        self._unwanted: set[Table] = set()
        self._queues: tuple[Feed, ...] = ()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._feeds: dict[object, Feed] = {}
        self._clients: dict[Listener, Feed | None] = {}
        self._count = 0
        self._newest: dict[Table, tuple[int, Row]] = {}
        self._born: dict[Table, int] = {}
        self._encoded: dict[tuple[Table, object], tuple[Row, bytes]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._told: tuple[float, bytes] | None = None

    # -- from the threads that publish --------------------------------------------------------

    def put(self, row: Row) -> None:
        """Take a row and wake the loop, where it does not wait for the end of a period."""
        if row.table in self._unwanted:
            return
        for feed in self._queues:
            if feed.rows is not None and feed.pick(row.table) is not None:
                feed.rows.put(row)
        with self._lock:
            self._dirty[row.table] = row
            if self._is_armed:
                return
            self._is_armed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    # -- clients ------------------------------------------------------------------------------

    @property
    def clients(self) -> int:
        """How many there are."""
        return len(self._clients)

    def join(self, client: Listener) -> None:
        """A client, that has chosen nothing yet: it is told the status only."""
        self._clients[client] = None
        if not self._tasks:
            self._loop = asyncio.get_running_loop()
            self._wake = asyncio.Event()
            self._hub.attach(self)
            self._tasks = [self._loop.create_task(w) for w in (self._push(), self._tell())]
            for task in self._tasks:
                task.add_done_callback(self._ended)
        elif self._told is not None and time.monotonic() - self._told[0] < STATUS_S:
            client.hand([self._told[1]])

    def choose(self, client: Listener, choice: Choice, max_hz: float, every_row: bool) -> None:
        """From now on it wants this; all of it is sent once, whatever it had before."""
        self._leave_feed(client)
        client.seen = -1
        key = (choice, max_hz, client if every_row else None)
        feed = self._feeds.get(key)
        if choice and feed is None:
            feed = Feed(choice, 1.0 / max_hz, _Rows() if every_row else None)
            self._feeds[key] = feed
            self._rewire()
        self._clients[client] = feed if choice else None
        if choice and feed is not None:
            feed.members[client] = None
            feed.due = min(feed.due, time.monotonic())
            for row in self._hub.latest.rows():
                if row.table not in self._newest and feed.pick(row.table) is not None:
                    with self._lock:
                        self._dirty.setdefault(row.table, row)
            self._wake.set()

    def leave(self, client: Listener) -> None:
        """It is gone."""
        self._leave_feed(client)
        self._clients.pop(client, None)
        if not self._clients:
            self._hub.unsubscribe(self)
            for task in self._tasks:
                task.cancel()
            self._tasks = []
            self._dirty, self._newest, self._born, self._encoded = {}, {}, {}, {}
            self._is_armed, self._told = False, None

    def nudge(self) -> None:
        """A client that was slow can take more."""
        self._wake.set()

    def _leave_feed(self, client: Listener) -> None:
        feed = self._clients.get(client)
        if feed is not None:
            del feed.members[client]
            if not feed.members:
                self._feeds = {k: f for k, f in self._feeds.items() if f is not feed}
                self._rewire()

    def _rewire(self) -> None:
        """Feeds have come or gone: see anew what is wanted."""
        self._queues = tuple(f for f in self._feeds.values() if f.rows is not None)
        self._unwanted = set()
        for table in [t for t in self._newest if not self._is_wanted(t)]:
            self._forget(table)

    def _is_wanted(self, table: Table) -> bool:
        return any(feed.pick(table) is not None for feed in self._feeds.values())

    def _forget(self, table: Table) -> None:
        del self._newest[table], self._born[table]
        self._encoded = {k: v for k, v in self._encoded.items() if k[0] is not table}
        for feed in self._feeds.values():
            feed.picks.pop(table, None)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the live values failed, which is a bug", exc_info=error)
            for client in list(self._clients):
                client.end()

    # -- pushing ------------------------------------------------------------------------------

    async def _push(self) -> None:
        while True:
            with anyio.move_on_after(self._rest_s()):
                await self._wake.wait()
            self._wake.clear()
            self._collect()
            for feed in list(self._feeds.values()):
                if feed.due <= time.monotonic():
                    await self._serve(feed)

    def _rest_s(self) -> float | None:
        """How long to wait although rows may have come; None: until one comes.

        While every feed is within its period nobody need wake the loop: it wakes by itself.
        """
        now = time.monotonic()
        waits = [feed.due - now for feed in self._feeds.values()]
        if waits and min(waits) > 0:
            return min(waits)
        with self._lock:
            self._is_armed = bool(self._dirty)
            if self._is_armed:
                self._wake.set()
        later = [wait for wait in waits if wait > 0]
        return min(later) if later else None

    def _collect(self) -> None:
        with self._lock:
            dirty, self._dirty = self._dirty, {}
        self._count += 1
        for table, row in dirty.items():
            if table not in self._newest:
                if not self._is_wanted(table):
                    self._unwanted.add(table)
                    continue
                self._born[table] = self._count
                name = (table.device, table.key)
                for old in [t for t in self._newest if (t.device, t.key) == name]:
                    self._forget(old)  # a reload has given the table a new shape
            self._newest[table] = (self._count, row)

    async def _serve(self, feed: Feed) -> None:
        """Push what has changed to those who can take it."""
        turns = _Turns()
        until, made = self._count, dict[int, list[bytes]]()
        if feed.rows is not None:
            await self._serve_every_row(feed, turns)
            return
        changed = 0
        for client in list(feed.members):
            if not client.is_ready:
                changed = changed or sum(1 for _ in self._since(feed, feed.pushed))
                client.missed += changed
                continue
            if client.seen >= until:
                continue
            since = client.seen
            if since not in made:
                made[since] = await self._compose(feed, since, turns)
            if client not in feed.members or client.seen != since:
                continue  # it chose anew, or left, while others had their turn
            client.seen = until
            frames = made[since]
            if client.missed and frames:
                frames = frames + values_frames((), client.missed)
                client.missed = 0
            if frames:
                client.hand(frames)
                await turns.take()
        feed.pushed = until
        if changed or any(made.values()):
            feed.due = time.monotonic() + feed.period_s

    def _since(self, feed: Feed, count: int) -> Iterable[tuple[Pick, Row]]:
        for table, (at, row) in self._newest.items():
            if at > count and (pick := feed.pick(table)) is not None:
                yield pick, row

    async def _compose(self, feed: Feed, since: int, turns: _Turns) -> list[bytes]:
        shapes, rows = list[bytes](), list[bytes]()
        for pick, row in list(self._since(feed, since)):
            if self._born.get(pick.table, since) > since:
                shapes.append(frame(pick.shape()))
            rows.append(await self._encode(pick, row, turns))
        return shapes + values_frames(rows)

    async def _encode(self, pick: Pick, row: Row, turns: _Turns) -> bytes:
        key = (pick.table, None if pick.is_whole else pick.columns)
        known = self._encoded.get(key)
        if known is not None and known[0] is row:
            return known[1]
        pieces = []
        for piece in pick.row_pieces(row):
            pieces.append(piece)
            await turns.take()
        text = b"".join(pieces)
        if pick.table in self._newest:
            self._encoded[key] = (row, text)
        return text

    async def _serve_every_row(self, feed: Feed, turns: _Turns) -> None:
        client = next(iter(feed.members), None)
        if client is None or feed.rows is None or not client.is_ready:
            return
        rows = feed.rows.drain()
        client.missed += sum(d.rows for d in feed.rows.take_dropped())
        if not rows:
            return
        frames, texts = list[bytes](), list[bytes]()
        for row in rows:
            if (pick := feed.pick(row.table)) is None:
                continue
            if row.table not in feed.shaped:
                feed.shaped.add(row.table)
                frames += values_frames(texts)  # what came before the new shape has the old one
                frames.append(frame(pick.shape()))
                texts = []
            texts.append(await self._encode(pick, row, turns))
        if client in feed.members:
            client.seen = self._count
            client.hand(frames + values_frames(texts, client.missed))
            client.missed = 0
            feed.due = time.monotonic() + feed.period_s

    # -- the status ---------------------------------------------------------------------------

    async def _tell(self) -> None:
        while True:
            document = await anyio.to_thread.run_sync(self._status, abandon_on_cancel=True)
            told = frame(orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS))
            self._told = (time.monotonic(), told)
            turns = _Turns()
            for client in list(self._clients):
                if client.is_ready:
                    client.hand([told])
                    await turns.take()
            latest = self._hub.latest
            for table in [t for t in self._newest if latest.get(t) is None]:
                self._forget(table)  # its device is not configured any more
            for table in [t for t in self._unwanted if latest.get(t) is None]:
                self._unwanted.discard(table)
            await anyio.sleep(STATUS_S)
