"""The alarm database: what it keeps, and what it does on disks and files that are not well."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.alarms.model import Severity, State, Transition
from gateway.alarms.settings import HistoryConfig
from gateway.alarms.store import Store
from gateway.errors import GatewayError
from tests.support import until

STATE = {"inner": "unacknowledged", "print": "1"}


def config(**given: Any) -> HistoryConfig:
    return HistoryConfig.model_validate(given)


def transition(number: int, alarm: str = "high", time_ns: int | None = None) -> Transition:
    return Transition(
        number, time.time_ns() if time_ns is None else time_ns, "press_1", alarm, Severity.HIGH,
        State.NORMAL, State.UNACKNOWLEDGED, "high", "Öl \x00 too hot", 81.5, 80.0, "degC",
        notify=("shift",),
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "alarms.db", config())
    yield made
    made.stop(10)


def again(store: Store, given: HistoryConfig | None = None) -> Store:
    """Stop it, and open its file once more."""
    store.stop(10)
    return Store(store.path, given or config())


def test_states_and_transitions_outlive_a_restart(store: Store) -> None:
    assert store.load().alarms == {}
    store.start()
    store.put(transition(1), "press_1/high", STATE)
    store.put(None, "press_1/low", STATE)
    store.remove("press_1/low")
    store.flush()
    store = again(store)
    kept = store.load()
    assert kept.alarms == {"press_1/high": STATE}
    assert kept.number == 1
    (found,) = store.history(0, 2**63 - 1, 10)
    assert found == {
        "number": 1, "time_ns": found["time_ns"], "id": "press_1/high", "device": "press_1",
        "alarm": "high", "severity": "high", "from_state": "normal", "state": "unacknowledged",
        "condition": "high", "message": "Öl \x00 too hot", "value": 81.5, "limit": 80.0,
        "unit": "degC", "who": "", "why": "", "first_out": False, "notify": ["shift"],
    }  # fmt: skip
    store.stop(10)


def test_no_number_is_used_twice_after_a_kill(store: Store) -> None:
    store.load()
    store.start()
    store.put(transition(1), "press_1/high", STATE)
    store.flush()  # killed after this; others were told but not stored
    killed = Store(store.path, config())
    assert killed.load().number > 500
    killed.stop(1)


def test_history_has_what_is_not_on_disk_yet(store: Store) -> None:
    store.load()
    store.put(transition(7, "low"), "press_1/low", STATE)
    store.put(transition(8), "press_1/high", STATE)
    assert [d["number"] for d in store.history(0, 2**63 - 1, 10)] == [8, 7]
    assert [d["number"] for d in store.history(0, 2**63 - 1, 10, "press_1/low")] == [7]
    assert store.history(0, 1, 10) == []
    store.start()
    store.flush()
    assert [d["number"] for d in store.history(0, 2**63 - 1, 1)] == [8]


def test_old_and_surplus_transitions_are_deleted_but_never_the_newest(store: Store) -> None:
    store.load()
    store.start()
    for number in range(1, 3001):
        store.put(transition(number, time_ns=1_000 + number), "press_1/high", STATE)
    store.flush()
    store = again(store, config(days=1.0, max_rows=2500))
    store.load()
    store.start()
    until(lambda: len(store.history(0, 2**63 - 1, 10_000)) == 1000, what="only the newest are left")
    assert store.history(0, 2**63 - 1, 1)[0]["number"] == 3000
    store.stop(10)


@pytest.mark.parametrize("damage", ["text", "middle", "empty"])
def test_a_damaged_file_is_put_aside_and_begun_anew(
    store: Store, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store.load()
    store.start()
    for number in range(1, 400):
        store.put(transition(number), f"press_1/{number}", STATE)
    store.flush()
    store.stop(10)
    content = store.path.read_bytes()
    if damage == "text":
        store.path.write_text("not a database, but quite long enough to be read as one" * 40)
    elif damage == "middle":
        store.path.write_bytes(content[:4096] + os.urandom(len(content) - 8192) + content[-4096:])
    else:
        store.path.write_bytes(b"")
    events: list[str] = []
    fresh = Store(store.path, config(), lambda event, about, detail: events.append(event))
    kept = fresh.load()
    fresh.start()
    fresh.put(transition(kept.number + 1), "press_1/high", STATE)
    fresh.flush()
    fresh.stop(10)
    aside = list(store.path.parent.glob("alarms.db.corrupt-*"))
    assert len(aside) == (damage != "empty")
    assert events == ["alarms_begin_anew"] * len(aside)
    assert kept.alarms == {}
    if aside:
        assert kept.number > 1_000_000_000  # higher than all that were told before
        assert "put aside" in caplog.records[0].__dict__["detail"]


def test_a_database_of_something_else_is_not_touched(store: Store) -> None:
    with sqlite3.connect(store.path) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    other.close()
    before = store.path.read_bytes()
    assert store.load().alarms == {}
    store.start()
    store.put(transition(1), "press_1/high", STATE)
    with pytest.raises(GatewayError, match="a database of something else"):
        store.flush()
    assert store.status()["state"] == "failing"
    assert store.path.read_bytes() == before


def test_a_full_disk_refuses_who_waits_and_takes_all_when_there_is_room(store: Store) -> None:
    store.load()
    store.start()
    store.flush()
    with sqlite3.connect(store.path, timeout=10) as other:  # its thread may be tidying up
        other.execute("BEGIN IMMEDIATE")  # as long as somebody holds it nothing can be written
        store.put(transition(1), "press_1/high", STATE)
        begun = time.monotonic()
        with pytest.raises(GatewayError, match="not on disk"):
            store.flush()
        assert time.monotonic() - begun < 9
        assert store.status()["waiting"] == 1
        assert [d["number"] for d in store.history(0, 2**63 - 1, 9)] == [1]
        other.execute("ROLLBACK")
    other.close()
    store.flush()
    assert store.status() == {"state": "good", "error": None, "waiting": 0, "dropped": 0}


def test_a_folder_that_cannot_be_made_costs_the_memory_not_the_alarms(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file is here")
    store = Store(tmp_path / "state" / "alarms.db", config())
    assert store.load().alarms == {}
    store.start()
    store.put(transition(1), "press_1/high", STATE)
    with pytest.raises(GatewayError):
        store.flush()
    assert len(store.history(0, 2**63 - 1, 10)) == 1
    store.stop(10)


def test_what_waits_for_the_disk_is_bounded_and_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.alarms.store.MOST_WAITING", 10)
    store.load()
    for number in range(1, 26):
        store.put(transition(number), "press_1/high", STATE)
    assert (store.status()["waiting"], store.dropped) == (10, 15)
    store.start()
    store.flush()


def test_many_who_wait_at_once_all_get_their_answer(store: Store) -> None:
    store.load()
    store.start()
    done: list[int] = []

    def ask(number: int) -> None:
        store.put(transition(number), f"press_1/{number}", STATE)
        store.flush()
        done.append(number)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(1, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(done) == 19
    assert len(store.history(0, 2**63 - 1, 100)) == 19
