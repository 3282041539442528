"""All notifiers: across a restart, across a reload, one that hangs beside one that works."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.alarms.model import Severity
from gateway.alarms.notify import Notifiers
from gateway.errors import GatewayError
from tests.sims.http_faults import FaultServer, faults, hang, said
from tests.support import free_port, until
from tests.unit.alarmkit import StandingAlarms
from tests.unit.notifykit import FAST, config, running, transition

TAKEN = said("204 No Content")


def hook(server: FaultServer, **keys: Any) -> Any:
    return config("webhook", url=server.url, **keys)


def told(server: FaultServer) -> list[dict[str, Any]]:
    return [orjson.loads(body) for _, body in list(server.requests)]


def numbers(server: FaultServer) -> list[int]:
    return [body["number"] for body in told(server)]


class History:
    """What the alarm database has."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def add(self, *numbers: int, **more: Any) -> None:
        self.all += [transition(number, **more) for number in numbers]

    def __call__(self, from_ns: int, to_ns: int, most: int) -> list[dict[str, Any]]:
        fields = ("number", "time_ns", "device", "alarm", "severity", "from_state", "state",
                  "condition", "message", "value", "limit", "unit", "who", "why", "first_out",
                  "notify")  # fmt: skip
        found = [t for t in reversed(self.all) if from_ns <= t.time_ns < to_ns]
        return [{name: getattr(t, name) for name in fields} for t in found[:most]]


def test_what_was_not_sent_is_sent_after_a_restart(tmp_path: Path) -> None:
    history = History()
    with faults(said("503 No")) as server:
        with running(tmp_path, history=history, one=hook(server)) as run:
            history.add(1)
            run.notifiers.put(history.all[0])
            run.wait_error("503")
            server.answers[:] = [TAKEN]
            run.wait_sent(1)
            server.answers[:] = [said("503 No")]
            history.add(2, 3)
            for each in history.all[1:]:
                run.notifiers.put(each)
            run.wait_error("503")
        history.add(4)  # raised while nobody told anybody
        server.requests.clear()
        server.answers[:] = [TAKEN]
        with running(tmp_path, history=history, one=hook(server)) as run:
            run.wait_sent(3)
            history.add(5)
            run.notifiers.put(history.all[-1])
            run.wait_sent(4)
        assert numbers(server) == [2, 3, 4, 5]
        assert [body.get("late", False) for body in told(server)] == [True, True, True, False]
        assert run.events == [("notifier_late", "one", "3 messages from before the start")]
        server.requests.clear()
        with running(tmp_path, history=history, one=hook(server)) as run:
            history.add(6)
            run.notifiers.put(history.all[-1])
            run.wait_sent(1)
        assert numbers(server) == [6]


def test_after_a_crash_what_was_sent_has_the_same_key(tmp_path: Path) -> None:
    history = History()
    history.add(1)
    with faults(TAKEN) as server:
        with running(tmp_path, history=history, one=hook(server)):
            pass
        history.add(2)
        mark = tmp_path / "notify" / "one.json"
        before = mark.read_bytes()
        keys = []
        for _ in range(2):
            mark.write_bytes(before)  # as if it had not been written any more
            with running(tmp_path, history=history, one=hook(server)) as run:
                run.wait_sent(1)
            keys.append(told(server)[-1]["key"])
    assert numbers(server) == [2, 2]
    assert keys[0] == keys[1]


def test_a_new_receiver_hears_of_what_comes_only(tmp_path: Path) -> None:
    history = History()
    history.add(1, 2, 3)
    with faults(TAKEN) as server, running(tmp_path, history=history, one=hook(server)) as run:
        history.add(4)
        run.notifiers.put(history.all[-1])
        run.wait_sent(1)
        assert numbers(server) == [4]


def test_what_it_did_not_want_is_not_told_when_it_wants_more(tmp_path: Path) -> None:
    history = History()
    with faults(TAKEN) as server:
        with running(tmp_path, history=history, one=hook(server, severity="critical")) as run:
            history.add(1, 2, severity=Severity.LOW)
            for each in history.all:
                run.notifiers.put(each)
        with running(tmp_path, history=history, one=hook(server)) as run:
            history.add(3, severity=Severity.LOW)
            run.notifiers.put(history.all[-1])
            run.wait_sent(1)
        assert numbers(server) == [3]


def test_recalled_messages_keep_to_the_rule_that_raised_them(tmp_path: Path) -> None:
    history = History()
    with faults(TAKEN) as server:
        with running(tmp_path, history=history, one=hook(server)):
            pass
        history.add(1, notify=("other",))
        history.add(2, notify=())
        history.add(3, notify=("one",))
        with running(tmp_path, history=history, one=hook(server)) as run:
            run.wait_sent(1)
        assert numbers(server) == [3]


class Unreadable:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, from_ns: int, to_ns: int, most: int) -> list[dict[str, Any]]:
        raise self.error


@pytest.mark.parametrize("error", [GatewayError("the disk is full"), KeyError("number")])
def test_a_history_that_cannot_be_read_keeps_nobody_from_telling(
    tmp_path: Path, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with faults(TAKEN) as server:
        with running(tmp_path, history=Unreadable(error), one=hook(server)) as run:
            run.put(1)
            run.wait_sent(1)
        assert "what was not sent is not known" in caplog.text


def test_a_state_folder_that_cannot_be_written_keeps_nobody_from_telling(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "notify").write_text("a file where a folder should be")
    with faults(TAKEN) as server:
        with running(tmp_path, history=History(), one=hook(server)) as run:
            run.put(1, 2)
            run.wait_sent(2)
        assert [r.message for r in caplog.records] == [
            "what was not sent before the start is not known",
            "a restart will send messages twice",
        ]


def test_one_that_hangs_holds_up_neither_the_others_nor_those_who_tell(tmp_path: Path) -> None:
    with faults(hang) as hanging, faults(TAKEN) as good:
        configs = {"stuck": hook(hanging, timeout_s=60, queue=10), "good": hook(good)}
        with running(tmp_path, stop_s=0.4, **configs) as run:
            begun = time.monotonic()
            run.put(*range(1, 501))
            took_s = time.monotonic() - begun
            run.wait_sent(500, "good")
            assert took_s < 10  # the one that hangs would take a minute for one message
            assert run.status("stuck")["dropped"]["overflow"] >= 489
            assert run.status("good")["dropped"] == {}


def test_a_reload_keeps_what_waits_and_those_that_are_the_same(tmp_path: Path) -> None:
    with faults(said("503 No")) as old, faults(TAKEN) as new, faults(TAKEN) as same:
        configs = {"one": hook(old), "same": hook(same), "gone": hook(same)}
        with running(tmp_path, **configs) as run:
            run.put(1, 2)
            run.wait_error("503")
            run.wait_sent(2, "same")
            run.wait_sent(2, "gone")
            run.notifiers.exchange({"one": hook(new), "same": hook(same), "added": hook(same)}, 2.0)
            run.put(3)
            run.wait_sent(3)
            run.wait_sent(3, "same")
            run.wait_sent(1, "added")
            assert run.notifiers.names() == ["one", "same", "added"]
        assert numbers(new) == [1, 2, 3]
        assert sorted(numbers(same)) == [1, 1, 2, 2, 3, 3]


def test_a_reload_during_a_flood_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with faults(TAKEN) as first, faults(TAKEN) as second:
        with running(tmp_path, one=hook(first)) as run:
            run.put(*range(1, 101))
            run.notifiers.exchange({"one": hook(second)}, 20.0)
            run.put(*range(101, 151))
            until(lambda: not run.status()["waiting"], what="all sent")
        assert [*numbers(first), *numbers(second)] == list(range(1, 151))


def test_a_reload_does_not_wait_for_one_that_hangs(tmp_path: Path) -> None:
    with faults(hang) as old, faults(TAKEN) as new:
        with running(tmp_path, one=hook(old, timeout_s=60)) as run:
            run.put(1)
            until(lambda: old.requests, what="the first message")
            begun = time.monotonic()
            run.notifiers.exchange({"one": hook(new)}, 0.4)
            assert time.monotonic() - begun < 20
            run.wait_sent(1)
        assert numbers(new) == [1]


def test_the_engine_tells_them(tmp_path: Path) -> None:
    alarms = StandingAlarms()
    with faults(TAKEN) as server:
        with running(tmp_path, history=alarms.history, one=hook(server)) as run:
            end = alarms.listen(run.notifiers.put)
            alarms.raise_one()
            alarms.acknowledge("hopper_4/pm10.high", "anna", "seen")
            run.wait_sent(2)
            end()
        raised, acknowledged = told(server)
    assert (raised["state"], acknowledged["state"]) == ("unacknowledged", "acknowledged")
    assert acknowledged["who"] == "anna"


def test_what_is_put_before_the_start_is_sent(tmp_path: Path) -> None:
    with faults(TAKEN) as server:
        notifiers = Notifiers({"one": hook(server)}, "hall-3", tmp_path, retry=FAST)
        notifiers.put(transition(1))
        notifiers.start()
        until(lambda: notifiers.status()["one"]["sent"] == 1, what="it is sent")
        notifiers.stop(2.0)


def test_those_that_were_never_started_can_be_stopped(tmp_path: Path) -> None:
    with faults(TAKEN) as server:
        notifiers = Notifiers({"one": hook(server)}, "hall-3", tmp_path)
        notifiers.stop(1.0)
        with pytest.raises(GatewayError, match="is not running"):
            notifiers.test("one", "anna")


def test_the_status_has_no_secrets(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("pa55-of-the-mail\n")
    one = config(
        "email", host="127.0.0.1", port=free_port(), user="gw", to=["a@b.c"],
        password_file=tmp_path / "password", **{"from": "d@e.f"},
    )  # fmt: skip
    with running(tmp_path, one=one) as run:
        run.put(1)
        run.wait_error("refused")
        document = orjson.dumps([run.status(), run.notifiers.problems(), run.events])
    assert b"pa55" not in document
