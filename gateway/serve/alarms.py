"""The alarms of all gateways, as Redis has them; whoever acts on one asks its gateway."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.alarms.model import (
    ORDER,
    Severity,
    State,
    Transition,
    UnknownAlarm,
    unknown_alarm,
)
from gateway.errors import GatewayError, SinkUnavailable
from gateway.serve.names import ask_the, fleet_name, own_name
from gateway.serve.operating import Operating
from gateway.serve.polling import Polling
from gateway.serve.settings import ServeFile
from gateway.serve.transitions import (
    KEPT,
    Entry,
    Log,
    as_transition,
    entry_of,
    number_at,
    of_fleet,
)
from gateway.sinks.postgres.query import OwnRow, Reader
from gateway.sinks.redis.client import RedisClient, Refusal

log = logging.getLogger(__name__)

STREAM: Final = "transitions"
ALL_EVERY_S: Final = 2.0
"""So often all hashes are read, whatever was heard."""

SEEN_S: Final = 1.0
"""Whoever has acted is answered when this node shows it, or after so long."""

READ_AT_ONCE: Final = 500
RETRY_S: Final = 0.5
_ACTIVE = (State.UNACKNOWLEDGED, State.ACKNOWLEDGED)
_UNSEEN = (State.UNACKNOWLEDGED, State.RETURNED, State.LATCHED)


class FleetAlarms(Polling):
    """`gateway.alarms.model.Alarms` over all gateways. Its thread reads, any thread may ask."""

    def __init__(
        self,
        file: ServeFile,
        gateways: Callable[[], Iterable[str]],
        reader: Reader | None,
        operate: Operating,
    ) -> None:
        """``gateways``: those whose status is known."""
        self.error: str | None = "Redis was not asked yet"
        self.faults = 0
        self._file = file
        self._gateways = gateways
        self._reader = reader
        self._operate = operate
        self._standing: dict[str, dict[str, dict[str, Any]]] = {}
        self._log = Log()
        self._last: bytes | None = None
        self._read_s = 0.0
        self._listeners: tuple[Callable[[Transition], None], ...] = ()
        self._changed = threading.Condition()
        super().__init__(
            RedisClient(file.redis, f"gateway-serve:{file.node}:alarms", raw=True), "fleet alarms"
        )

    # -- what the API asks --------------------------------------------------------------------

    def active(self) -> list[dict[str, Any]]:
        """All alarms that are not normal, the most severe first, then the oldest. No I/O."""
        alarms = [a for its in list(self._standing.values()) for a in its.values()]
        return sorted(alarms, key=lambda a: (-_severity(a), a.get("since_ns") or 0))

    def rules(self) -> list[dict[str, Any]]:
        """UnknownAlarm: only a gateway itself knows its rules."""
        raise self._elsewhere("alarm rules")

    def history(
        self, from_ns: int, to_ns: int, most: int, alarm: str | None = None
    ) -> list[dict[str, Any]]:
        """Transitions, the newest first: those that Redis keeps, and older ones of the database.

        Those have numbers that are as old as they are, and below all that Redis has given.
        """
        entries = self._log.newest()
        found = [
            e.document
            for e in entries
            if from_ns <= e.document["time_ns"] <= to_ns and alarm in (None, e.document["id"])
        ]
        known = None if alarm is None else own_name(alarm, self._known())
        is_strange = alarm is not None and known is None
        if is_strange and not found:
            raise unknown_alarm(str(alarm), [str(a["id"]) for a in self.active()])
        if len(found) >= most or self._reader is None or is_strange:
            return found[:most]
        where: dict[str, str] = {}
        if known is not None:
            device, _, name = known[1].partition("/")
            where = {"gateway": known[0], "device": device, "alarm": name}
        try:
            rows = self._reader.newest("gateway_alarm", from_ns, to_ns, most, where)
        except SinkUnavailable:
            if from_ns or not found:
                raise
            return found  # a client that comes back needs no older ones
        have = {(e.gateway, e.own_number, e.document["time_ns"]) for e in entries}
        first = entries[-1].document["number"] if entries else None
        for row in rows:
            key = (row.gateway, row.columns.get("number"), row.time_ns)
            if self._file.shows(row.gateway) and key not in have:
                found.append(_stored(row, first))
        found.sort(key=lambda document: document["time_ns"], reverse=True)
        return found[:most]

    def acknowledge(self, alarm: str, who: str, why: str) -> Transition:
        """Have its gateway acknowledge it."""
        return self._act("acknowledge", alarm, {"who": who, "why": why})

    def shelve(self, alarm: str, for_s: float, who: str, why: str) -> Transition:
        """Have its gateway put it aside."""
        return self._act("shelve", alarm, {"who": who, "why": why, "for_s": for_s})

    def unshelve(self, alarm: str, who: str, why: str) -> Transition:
        """Have its gateway bring it back."""
        return self._act("unshelve", alarm, {"who": who, "why": why})

    def captures(self) -> list[dict[str, Any]]:
        """UnknownAlarm: they are files of the gateways."""
        raise self._elsewhere("stored windows")

    def capture(self, name: str) -> bytes:
        """UnknownAlarm: they are files of the gateways."""
        raise self._elsewhere("stored windows")

    def _elsewhere(self, what: str) -> UnknownAlarm:
        return UnknownAlarm(f"no {what} here; {ask_the(self._known())}")

    def listen(self, listener: Callable[[Transition], None]) -> Callable[[], None]:
        """Be told of every transition; returns what ends it."""
        self._listeners = (*self._listeners, listener)

        def end() -> None:
            self._listeners = tuple(each for each in self._listeners if each is not listener)

        return end

    def status(self) -> dict[str, Any]:
        """Counts over all gateways."""
        alarms = [a for its in list(self._standing.values()) for a in its.values()]
        states = Counter(a.get("state") for a in alarms)
        return {
            "active": dict(Counter(str(a["severity"]) for a in alarms if a["state"] in _ACTIVE)),
            "unacknowledged": sum(states[state] for state in _UNSEEN),
            "shelved": states[State.SHELVED],
            "suppressed": states[State.SUPPRESSED],
        }

    # -- acting -------------------------------------------------------------------------------

    def _known(self) -> set[str]:
        return {*self._gateways(), *self._standing}

    def _act(self, do: str, alarm: str, body: Mapping[str, Any]) -> Transition:
        known = own_name(alarm, self._known())
        if known is None:
            raise unknown_alarm(alarm, [str(a["id"]) for a in self.active()])
        gateway, own = known
        done = self._operate(gateway, do, {**body, "id": own})
        number, time_ns = int(done["number"]), int(done["time_ns"])
        with self._changed:
            self._changed.wait_for(
                lambda: self._log.find(gateway, number, time_ns) is not None, SEEN_S
            )
        shown = self._log.find(gateway, number, time_ns) or number_at(time_ns)
        return as_transition({**of_fleet(gateway, done), "number": shown})

    # -- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._look()
                self.error = None
            except Exception as error:
                if self._over.is_set():
                    return
                if not isinstance(error, GatewayError):
                    log.error("a fault of the alarms", exc_info=error)
                elif self.error is None:
                    log.warning("alarms cannot be read", extra={"error": str(error)})
                self.error = str(error)
                self._read_s = 0.0
                self._over.wait(RETRY_S)

    def _look(self) -> None:
        if self._last is None:
            self._begin()
        now_s = time.monotonic()
        if not self._read_s or now_s - self._read_s >= ALL_EVERY_S:
            self._read_all()
            self._read_s = now_s
        block_ms = round(1000 * min(1.0, self._file.redis.timeout_s / 3))
        found = self._client.call(
            "XREAD", "COUNT", READ_AT_ONCE, "BLOCK", block_ms, "STREAMS", STREAM, self._last or b"$"
        )
        if not found:
            return
        raw = found[0][1]
        entries = [e for e in (self._entry(id_, fields) for id_, fields in raw) if e is not None]
        # what came of them first: whoever hears of one finds it done
        for gateway in {entry.gateway for entry in entries}:
            self._read(gateway)
        self._last = raw[-1][0]
        with self._changed:
            news = [entry for entry in entries if self._log.add(entry)]
            self._changed.notify_all()
        for entry in news:
            transition = as_transition(entry.document)
            for listener in self._listeners:
                listener(transition)

    def _begin(self) -> None:
        """What Redis keeps; an empty stream begins with whatever comes next."""
        raw = self._client.call("XREVRANGE", STREAM, "+", "-", "COUNT", KEPT)
        for id_, fields in reversed(raw):
            if (entry := self._entry(id_, fields)) is not None:
                self._log.add(entry)
        self._last = raw[0][0] if raw else b"0-0"

    def _entry(self, id_: bytes, fields: Sequence[bytes]) -> Entry | None:
        entry = entry_of(id_, dict(zip(fields[::2], fields[1::2], strict=True)))
        if entry is None:
            self.faults += 1
            return None
        return entry if self._file.shows(entry.gateway) else None

    def _read_all(self) -> None:
        names, cursor = set[str](), b"0"
        while True:
            cursor, keys = self._client.call("SCAN", cursor, "MATCH", "alarm:*", "COUNT", 1000)
            names |= {key[6:].decode("utf-8", "replace") for key in keys}
            if cursor == b"0" or self._over.is_set():
                break
        for gateway in {n for n in names if self._file.shows(n)} | set(self._standing):
            self._read(gateway)

    def _read(self, gateway: str) -> None:
        answer = self._client.run([("HGETALL", f"alarm:{gateway}")])[0]
        if isinstance(answer, Refusal):
            self.faults += 1
            return
        if isinstance(answer, Exception):
            raise answer
        standing = {}
        for text in answer[1::2]:
            try:
                alarm = of_fleet(gateway, orjson.loads(text))
                Severity(alarm["severity"])
                State(alarm["state"])
            except (KeyError, TypeError, ValueError):
                self.faults += 1
                continue
            standing[str(alarm["id"])] = alarm
        if standing:
            self._standing = {**self._standing, gateway: standing}
        elif gateway in self._standing:
            self._standing = {g: its for g, its in self._standing.items() if g != gateway}


def _severity(alarm: Mapping[str, Any]) -> int:
    return ORDER[Severity(alarm["severity"])]


def _stored(row: OwnRow, first: int | None) -> dict[str, Any]:
    """A transition of the database in the shape of `alarmschemas.AlarmTransition`."""
    number = number_at(row.time_ns)
    if first is not None:
        number = min(number, first - 1)
    columns = {**row.columns}
    for name in ("condition", "message", "unit", "who", "why"):
        columns[name] = columns[name] or ""
    columns["first_out"] = bool(columns["first_out"])
    return {
        **columns,
        "number": number,
        "time_ns": row.time_ns,
        "device": fleet_name(row.gateway, row.device),
        "id": f"{fleet_name(row.gateway, row.device)}/{columns['alarm']}",
    }
