"""`gateway alarms` against the app of the API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.alarms.model import State
from gateway.api.settings import ApiConfig
from tests.system.cli_kit import called, objects
from tests.unit.alarmkit import Bell, StandingAlarms
from tests.unit.apikit import Served, served

PM10 = "hopper_4/pm10.high"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    socket = tmp_path_factory.mktemp("api") / "gw.sock"
    with served(ApiConfig.model_validate({"socket": socket})) as made:
        made.client.get_json("/v1/alarms/history")  # begins the thread that blocking calls run in
        yield made


@pytest.fixture
def running(app: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """The app with alarms that are all normal; it is the one that commands ask."""
    app.plant.alarms, app.plant.notifiers = StandingAlarms(), Bell()
    monkeypatch.setenv("GATEWAY_SOCKET", str(app.api.socket))
    return app


def test_alarms_are_listed(running: Served) -> None:
    assert called("alarms", "list").stderr == "no alarms\n"
    running.plant.alarms.raise_one()
    done = called("alarms", "list")
    header, line = done.stdout.splitlines()
    assert header.split() == ["ALARM", "SEVERITY", "STATE", "SINCE", "VALUE", "LIMIT", "MESSAGE"]
    assert line.startswith(f"{PM10}  HIGH      unacknowledged  ")
    assert "408.4 ug/m3  300 ug/m3  pm10.high is too high" in line
    assert done.stderr == "1 alarm, 1 to acknowledge\n"
    (alarm,) = objects(called("alarms", "list", "--json").stdout)
    assert alarm["id"] == PM10
    assert "process.pm10 above 300 ug/m3" in called("alarms", "list", "--rules").stdout
    assert len(objects(called("alarms", "list", "--rules", "--json").stdout)) == 2


def test_an_alarm_is_acknowledged(running: Served) -> None:
    alarms = running.plant.alarms
    alarms.raise_one()
    alarms.raise_one("press_1/stale")
    done = called("alarms", "ack", PM10, "press_1/stale", "--why", "seen", "--who", "anna")
    assert done.stdout == (
        f"{PM10}: acknowledged, was unacknowledged\n"
        "press_1/stale: acknowledged, was unacknowledged\n"
    )
    assert [t.who for t in alarms.transitions[2:]] == ["anna", "anna"]


def test_one_that_cannot_be_acknowledged_does_not_keep_the_others_from_it(running: Served) -> None:
    running.plant.alarms.raise_one()
    done = called("alarms", "ack", "press_1/stale", "hopper/x", PM10, "--why", "seen", expect=2)
    assert done.stdout == f"{PM10}: acknowledged, was unacknowledged\n"
    stale, unknown = done.stderr.splitlines()
    assert stale == "error: press_1/stale: it is normal: there is nothing to acknowledge"
    assert unknown.startswith("error: no alarm 'hopper/x'")
    called("alarms", "ack", PM10, "--why", "again", expect=1)


@pytest.mark.parametrize(
    ("length", "seconds"), [("90", 90), ("90s", 90), ("30min", 1800), ("30m", 1800), ("1.5h", 5400)]
)
def test_an_alarm_is_shelved_for_a_time(running: Served, length: str, seconds: int) -> None:
    running.plant.alarms.raise_one()
    called("alarms", "shelve", PM10, "--why", "sensor", "--for", length)
    last = running.plant.alarms.transitions[-1]
    assert running.plant.alarms.until_ns[PM10] - last.time_ns == seconds * 10**9
    assert "shelved until 20" in called("alarms", "list").stdout
    called("alarms", "unshelve", PM10, "--why", "done")
    assert running.plant.alarms.machines[PM10].state is State.UNACKNOWLEDGED


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ack", PM10), "--why"),
        (("ack", "--why", "x"), "ALARM"),
        (("shelve", PM10, "--why", "x"), "--for"),
        (("shelve", PM10, "--why", "x", "--for", "soon"), "expected e.g. 30min, 8h or 2d"),
        (("shelve", PM10, "--why", "x", "--for", "99d"), "'99d' is out of range; expected more"),
        (("shelve", PM10, "--why", "x", "--for", "0h"), "at most 30d"),
        (("ack", "pm10", "--why", "x"), "'pm10' is no alarm; did you mean 'hopper_4/pm10.high'?"),
        (("ack", "hopper_4/", "--why", "x"), "expected DEVICE/ALARM, as `gateway alarms list"),
        (("history", "--since", "soon"), "'from' is no time"),
        (("notify-test", "bel"), "did you mean 'bell'?"),
        ((), "missing command; expected ack, "),
    ],
)
def test_wrong_usage_is_told(running: Served, arguments: tuple[str, ...], words: str) -> None:
    assert words in called("alarms", *arguments, expect=2).stderr


def test_the_history_is_listed(running: Served) -> None:
    assert "no alarm changed" in called("alarms", "history").stderr
    running.plant.alarms.raise_one()
    called("alarms", "ack", PM10, "--why", "Filter\x1b[2J", "--who", "anna")
    header, newest, oldest = called("alarms", "history").stdout.splitlines()
    assert header.split()[0] == "TIME"
    assert "acknowledged (was unacknowledged)" in newest
    assert newest.endswith("anna: Filter\\x1b[2J")
    assert "unacknowledged (was normal)" in oldest
    numbers = [t["number"] for t in objects(called("alarms", "history", "--json").stdout)]
    assert numbers == [2, 1]


def test_windows_are_listed_and_copied(running: Served, tmp_path: Path) -> None:
    assert "hopper_4-pm10.high-1.npz" in called("alarms", "captures").stdout
    target = tmp_path / "window.npz"
    called("alarms", "capture", "hopper_4-pm10.high-1.npz", target)
    assert target.read_bytes() == b"PK\x03\x04"
    called("alarms", "capture", "other", tmp_path / "other.npz", expect=2)
    assert not (tmp_path / "other.npz").exists()


def test_a_test_message_is_sent(running: Served) -> None:
    assert "bell: taken after" in called("alarms", "notify-test", "bell").stderr
    running.plant.notifiers.fault = "notifier 'bell': its certificate: expired"
    done = called("alarms", "notify-test", "bell", expect=1)
    assert "its certificate: expired" in done.stderr


def test_without_a_gateway(tmp_path: Path) -> None:
    done = called("alarms", "list", "--socket", tmp_path / "none", expect=3)
    assert "no gateway is running" in done.stderr
