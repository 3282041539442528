"""Pushes rows to all clients of `/ws/live`: each row is encoded once, whoever listens.

Clients that have chosen the same share a feed (`gateway.api.livefeed`). A row that comes when its
table's last push is longer ago than the period goes out at once; otherwise the newest goes when the
period is over. While nobody listens, nothing here runs and no row comes in.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import orjson

from gateway.api.livechoice import Choice
from gateway.api.livefeed import NOTHING, Came, Feed, Listener, Rows
from gateway.api.livetext import Pick, frame, values_frames
from gateway.hub import Hub
from gateway.model import Row, Table

log = logging.getLogger("gateway.api")

MAX_HZ = 10.0
MIN_HZ = 0.1
STATUS_S = 1.0

MAX_ENCODED = 4096
"""Texts of rows that are kept for others who want the same columns."""

TURN_S = 0.0005
"""After so much work the others of the event loop have their turn."""


class _Turns:
    """Gives way to others now and then."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def take(self) -> None:
        if time.perf_counter() - self._since > TURN_S:
            await anyio.lowlevel.checkpoint()
            self._since = time.perf_counter()


class LiveHub:
    """All feeds over one hub of rows. `put` is called from any thread, all else in the loop."""

    def __init__(self, hub: Hub, status: Callable[[], dict[str, Any]]) -> None:
        """``status`` gives the message that is told every second; it is called in a thread."""
        self._hub = hub
        self._status = status
        self._lock = threading.Lock()
        self._dirty: dict[Table, Came] = {}
        self._is_awake = False
        """Whether the loop will look by itself: those who publish need not wake it."""
        self._unwanted: set[Table] = set()
        self._queues: tuple[Feed, ...] = ()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._feeds: dict[object, Feed] = {}
        self._clients: dict[Listener, Feed | None] = {}
        self._tables: dict[tuple[str, str], Table] = {}
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
            self._dirty[row.table] = Came(row, time.monotonic())
            if self._is_awake:
                return
            self._is_awake = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and all clients with it
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
            self._is_awake = False
            self._hub.attach(self)
            self._tasks = [self._loop.create_task(w) for w in (self._push(), self._tell())]
            for task in self._tasks:
                task.add_done_callback(self._ended)
        elif self._told is not None and time.monotonic() - self._told[0] < STATUS_S:
            client.hand([self._told[1]])

    def choose(self, client: Listener, choice: Choice, max_hz: float, every_row: bool) -> None:
        """From now on it wants this; all of it is sent once, whatever it had before."""
        self._leave_feed(client)
        key = (choice, max_hz, client if every_row else None)
        feed = self._feeds.get(key)
        if choice and feed is None:
            feed = Feed(choice, 1.0 / max_hz, Rows() if every_row else None)
            self._feeds[key] = feed
            self._rewire()
        self._clients[client] = feed if choice else None
        if choice and feed is not None:
            feed.join(client, self._hub.latest.rows())
            self._wake.set()

    def leave(self, client: Listener) -> None:
        """It is gone."""
        self._leave_feed(client)
        self._clients.pop(client, None)
        if not self._clients:
            self._hub.unsubscribe(self)
            for task in self._tasks:
                task.cancel()
            self._tasks, self._told = [], None
            self._dirty, self._tables, self._encoded = {}, {}, {}

    def nudge(self, client: Listener) -> None:
        """A client that was slow can take more."""
        feed = self._clients.get(client)
        if feed is not None:
            feed.is_late = True
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

    def _forget(self, table: Table) -> None:
        self._tables.pop((table.device, table.key), None)
        self._encoded = {k: v for k, v in self._encoded.items() if k[0] is not table}
        for feed in self._feeds.values():
            feed.forget(table)

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
                wait_s = feed.wait_s(time.monotonic())
                if wait_s is not None and wait_s <= 0.0:
                    await self._serve(feed)

    def _rest_s(self) -> float | None:
        """How long to wait although rows may have come; None: until one comes.

        While every feed rests between two pushes nobody need wake the loop: it wakes by itself.
        """
        now_s = time.monotonic()
        feeds = self._feeds.values()
        rest_s = min((f.rest_until_s - now_s for f in feeds if not f.hurries), default=0.0)
        if rest_s > 0.0 and not any(f.hurries for f in feeds):
            return rest_s
        with self._lock:
            self._is_awake = bool(self._dirty)
        if self._is_awake:
            return 0.0
        return min((w for f in feeds if (w := f.wait_s(now_s)) is not None), default=None)

    def _collect(self) -> None:
        with self._lock:
            dirty, self._dirty = self._dirty, {}
        for table, came in dirty.items():
            if not any(feed.pick(table) is not None for feed in self._feeds.values()):
                self._unwanted.add(table)
                continue
            known = self._tables.setdefault((table.device, table.key), table)
            if known is not table:  # a reload has given the table a new shape
                self._forget(known)
                self._tables[table.device, table.key] = table
            for feed in self._feeds.values():
                feed.take(came)

    async def _serve(self, feed: Feed) -> None:
        """Push what has changed to those who can take it."""
        turns = _Turns()
        if feed.rows is not None:
            await self._serve_every_row(feed, turns)
            return
        due = feed.begin(time.monotonic())
        push, made = feed.push, dict[int, tuple[list[bytes], int]]()
        for client in list(feed.members):
            seen = client.seen
            if seen >= push:
                continue
            if not client.is_ready:
                client.missed += len(due) if seen != NOTHING else 0
                continue
            if seen not in made:
                made[seen] = await self._compose(feed, seen, due, turns)
            if client not in feed.members or client.seen != seen:
                continue  # it chose anew, or left, while others had their turn
            client.seen = push
            frames, late = made[seen]
            missed = max(0, client.missed - late)
            client.missed = 0
            client.dropped += missed
            if missed:
                frames = frames + values_frames((), missed)
            if frames:
                client.hand(frames)
                await turns.take()

    async def _compose(
        self, feed: Feed, seen: int, due: set[Table], turns: _Turns
    ) -> tuple[list[bytes], int]:
        """Messages with what a client lacks, and how many of the rows were in earlier pushes."""
        shapes, rows, late = list[bytes](), list[bytes](), 0
        for pick, row, is_new in list(feed.lacks(seen, due)):
            late += pick.table not in due
            if is_new:
                shapes.append(frame(pick.shape()))
            rows.append(await self._encode(pick, row, turns))
        return shapes + values_frames(rows), late

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
        if len(self._encoded) >= MAX_ENCODED:
            self._encoded = {}
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
        feed.rest_until_s = time.monotonic() + feed.period_s
        frames, texts = list[bytes](), list[bytes]()
        for row in rows:
            if (pick := feed.pick(row.table)) is None:
                continue
            is_new = row.table not in feed.told
            if not feed.is_news(row):
                continue
            if is_new:
                frames += values_frames(texts)  # what came before the new shape has the old one
                frames.append(frame(pick.shape()))
                texts = []
            texts.append(await self._encode(pick, row, turns))
        if client in feed.members:
            client.hand(frames + values_frames(texts, client.missed))
            client.dropped += client.missed
            client.missed = 0

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
            for table in [t for t in self._tables.values() if latest.get(t) is None]:
                self._forget(table)  # its device is not configured any more
            self._encoded = {k: v for k, v in self._encoded.items() if latest.get(k[0]) is v[0]}
            self._unwanted = {t for t in self._unwanted if latest.get(t) is not None}
            await anyio.sleep(STATUS_S)
