"""The MQTT sink against a real mosquitto: messages, birth and will, refusals, lost brokers."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from paho.mqtt.client import MQTTMessage

from gateway.errors import Rejected, SinkUnavailable
from gateway.model import ALL, Column, Mark, Quality, Row, Selected, Table, bad, make_parts
from gateway.sinks.mqtt import MqttConfig, MqttSink
from gateway.sinks.mqtt.session import VERSIONS
from tests.sims.mosquitto import Broker, broker, heard
from tests.sinks.rediskit import T0, Chain, rows_of, selected, send, table_of
from tests.support import free_port, need_program, until
from tests.unit.notifykit import Certificates, make_certificates
from tests.unit.test_notify_mqtt import OldBroker

pytestmark = pytest.mark.servers

ROWS = "edge-gateway/hall-3/+/+"
STATUS = "edge-gateway/hall-3/status"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Broker]:
    with broker(tmp_path / "broker") as running:
        yield running


@contextlib.contextmanager
def sink_of(port: int, folder: Path, **settings: Any) -> Iterator[MqttSink]:
    keys = {"type": "mqtt", "host": "127.0.0.1", "port": port, "timeout_s": 10.0, **settings}
    sink = MqttSink("fleet", MqttConfig.model_validate(keys), folder)
    try:
        yield sink
    finally:
        sink.close()


def told(messages: Sequence[MQTTMessage]) -> list[dict[str, Any]]:
    return [orjson.loads(m.payload) for m in messages]


def times(messages: Sequence[MQTTMessage]) -> list[int]:
    return [d["time_ns"] - T0 for d in told(messages)]


def test_a_row_is_a_message_on_the_topic_of_its_table(made: Broker, tmp_path: Path) -> None:
    columns = [Column("force", "f4", "kN"), Column("big", "u8"), Column("on", "b1"),
               Column("text", "str"), Column("p%d", "f8")]  # fmt: skip
    labels = (("gateway", "hall-3"), ("device", "press_1"), ("line", "7"))
    table = Table("press", "press_1", columns, labels)
    row = Row(table, T0, make_parts(table, [408.35, 2**64 - 1, True, 'ä"\n\t,x', 1e-300]))
    with heard(made.port, ROWS) as messages, sink_of(made.port, tmp_path, units=True) as sink:
        send(sink, row)
        until(lambda: messages, what="the message")
    (message,) = messages
    assert (message.topic, message.qos, message.retain) == (
        "edge-gateway/hall-3/press_1/press",
        1,
        False,
    )
    assert told([message]) == [
        {
            "gateway": "hall-3",
            "device": "press_1",
            "table": "press",
            "labels": {"line": "7"},
            "units": {"force": "kN"},
            "time_ns": T0,
            "values": {"force": 408.35, "big": 2**64 - 1, "on": True, "text": 'ä"\n\t,x',
                       "p%d": 1e-300},
        }
    ]  # fmt: skip


def test_what_is_bad_or_did_not_change_is_left_out_and_quality_says_why(
    made: Broker, tmp_path: Path
) -> None:
    table = Table("t", "d", [Column(c, "f4") for c in "abcd"], (("gateway", "hall-3"),))
    parts = (np.array([1.5, 2.5, np.nan, 4.5], "f4"),)
    row = Row(table, T0, parts, {0: bad("timeout"), 3: Mark(Quality.UNCERTAIN, "cpu_stop")})
    lost = Row(table, T0 + 1, (), {ALL: bad("refused")})
    rows = [Selected(row, (np.array([True, False, True, True]),)), Selected(lost)]
    with heard(made.port, ROWS) as messages, sink_of(made.port, tmp_path) as sink:
        (payload,) = sink.encode(rows)
        assert (payload.rows, payload.values) == (2, 1)
        sink.deliver(payload.body, payload.format)
        until(lambda: len(messages) == 2, what="two messages")
        assert sink.status()["values_not_finite"] == 1
    first, second = told(messages)
    assert first["values"] == {"d": 4.5}
    assert first["quality"] == {"a": "BAD:timeout", "c": "BAD:nan", "d": "UNCERTAIN:cpu_stop"}
    assert (second["values"], second["quality"]) == ({}, {"*": "BAD:refused"})


def test_a_name_cannot_change_the_levels_of_a_topic(made: Broker, tmp_path: Path) -> None:
    table = Table("t", "a/+/#\n\t", [Column("c", "f4")], (("gateway", "hall-3"),))
    with heard(made.port, ROWS) as messages, sink_of(made.port, tmp_path) as sink:
        send(sink, Row(table, T0, make_parts(table, [1.0])))
        until(lambda: messages, what="the message")
    assert messages[0].topic == "edge-gateway/hall-3/a______/t"
    assert told(messages)[0]["device"] == "a/+/#\n\t"


def test_birth_and_offline_are_retained(made: Broker, tmp_path: Path) -> None:
    with sink_of(made.port, tmp_path) as sink:
        send(sink, *rows_of(table_of(), 1))
        with heard(made.port, STATUS) as late:
            until(lambda: late, what="the birth")
            assert late[0].retain
            birth = told(late)[0]
        assert (birth["state"], birth["gateway"]) == ("online", "hall-3")
    with heard(made.port, STATUS) as late:
        until(lambda: late, what="the good-bye")
        assert (told(late)[0]["state"], late[0].retain) == ("offline", True)


def test_the_will_is_published_when_the_connection_breaks(made: Broker, tmp_path: Path) -> None:
    with heard(made.port, STATUS) as messages, sink_of(made.port, tmp_path) as sink:
        send(sink, *rows_of(table_of(), 1))
        until(lambda: len(messages) == 1, what="the birth")
        assert sink._session is not None
        sink._session.shut()
        until(lambda: len(messages) == 2, what="the will")
        assert told(messages)[1]["state"] == "offline"
        send(sink, *rows_of(table_of(), 1, 1))
        until(lambda: len(messages) == 3, what="the next birth")


def test_an_idle_connection_is_kept_alive(made: Broker, tmp_path: Path) -> None:
    with heard(made.port, STATUS) as messages, sink_of(made.port, tmp_path, keepalive_s=5) as sink:
        send(sink, *rows_of(table_of(), 1))
        end = time.monotonic() + 9.0  # the broker ends a silent one after 7.5 s
        until(lambda: time.monotonic() > end, 12)
        assert [m["state"] for m in told(messages)] == ["online"]
        assert sink.status()["connected"]


def test_thousands_go_through_a_small_window_in_order(made: Broker, tmp_path: Path) -> None:
    with (
        heard(made.port, ROWS) as messages,
        sink_of(made.port, tmp_path, in_flight=7, timeout_s=40.0) as sink,
    ):
        send(sink, *rows_of(table_of(), 3000))
        until(lambda: len(messages) == 3000, 20, "all messages")
    assert times(messages) == list(range(3000))


# -- refusals


def test_a_topic_without_rights_costs_only_its_own_rows_and_they_can_be_sent_again(
    tmp_path: Path,
) -> None:
    rights = tmp_path / "rights"
    rights.write_text("topic readwrite edge-gateway/+/good/#\ntopic readwrite +/+/status\n")
    with (
        broker(tmp_path / "broker", f"acl_file {rights}") as made,
        heard(made.port, ROWS) as messages,
    ):
        chain = Chain(tmp_path, "mqtt")
        chain.start(type="mqtt", host="127.0.0.1", port=made.port)
        chain.publish(*rows_of(table_of("good"), 20), *rows_of(table_of("other"), 10))
        status = chain.settled(30)
        assert (status["rows_stored"], status["rows_rejected"]) == (20, 10)
        chain.publish(*rows_of(table_of("good"), 1, 20), *rows_of(table_of("other"), 1, 10))
        chain.settled(32)
        assert chain.sink.status()["topics_refused"] == ["edge-gateway/hall-3/other/press"]
        assert chain.sink.status()["protocol"] == "5"
        until(lambda: sum(x.rows for x in chain.losses) == 11, 20, "the last loss to be told")
        assert {(x.device, x.table, x.cause) for x in chain.losses} == {
            ("other", "press", "rejected")
        }
        assert "topic edge-gateway/hall-3/other/press: Not authorized" in chain.losses[0].detail
        until(lambda: set(times(messages)) == set(range(21)), 20, "the rows to be heard")
        assert times(messages).count(20) == 1  # what is known to be refused goes apart
        box = chain.writer.letters
        assert box is not None
        assert (box.count, box.newest(1)[0].whole) == (11, True)
        assert box.replay().spooled == 11
        until(lambda: box.count == 11 and not box.newest(1)[0].on_its_way, 20, "refused again")
        chain.stop()


def test_in_mqtt_3_a_broker_acknowledges_what_its_rights_make_it_drop(tmp_path: Path) -> None:
    rights = tmp_path / "rights"
    rights.write_text("topic readwrite +/+/status\ntopic read #\n")
    with (
        broker(tmp_path / "broker", f"acl_file {rights}") as made,
        heard(made.port, ROWS) as messages,
        sink_of(made.port, tmp_path) as sink,
    ):
        sink._version = VERSIONS[1]
        send(sink, *rows_of(table_of(), 5))  # it says that it has them: nobody can know better
        assert sink.status()["protocol"] == "3.1.1"
        assert messages == []


def test_a_message_that_is_too_long_for_the_broker_is_refused_alone(tmp_path: Path) -> None:
    with (
        broker(tmp_path / "broker", "max_packet_size 2000") as made,
        heard(made.port, ROWS) as messages,
        sink_of(made.port, tmp_path) as sink,
    ):
        table = table_of()
        rows = rows_of(table, 3)
        rows[1] = Row(table, T0 + 1, make_parts(table, [1.0, 1, "x" * 3000]))
        (payload,) = sink.encode(selected(*rows))
        with pytest.raises(Rejected, match="bytes; the broker takes at most 2000"):
            sink.deliver(payload.body, payload.format)
        until(lambda: len(messages) == 2, what="the others")
        assert times(messages) == [0, 2]


def test_wrong_passwords_are_for_a_person_and_are_read_again(tmp_path: Path) -> None:
    users, secret = tmp_path / "users", tmp_path / "password"
    program = need_program("mosquitto_passwd", "mosquitto")
    subprocess.run([program, "-c", "-b", str(users), "gw", "pa55-of-mqtt"], check=True)
    secret.write_text("wrong-of-mqtt\n")
    with (
        broker(tmp_path / "broker", "allow_anonymous false", f"password_file {users}") as made,
        sink_of(made.port, tmp_path, user="gw", password_file=secret) as sink,
    ):
        with pytest.raises(SinkUnavailable, match="Not authorized") as raised:
            send(sink, *rows_of(table_of(), 1))
        assert raised.value.operator
        assert "wrong-of-mqtt" not in str(raised.value)
        secret.write_text("pa55-of-mqtt\n")
        send(sink, *rows_of(table_of(), 1))


def test_tls_is_verified(tmp_path: Path, certificates: Certificates) -> None:
    lines = (f"certfile {certificates.cert}", f"keyfile {certificates.key}")
    with broker(tmp_path / "broker", *lines) as made:
        with sink_of(made.port, tmp_path, tls=True, ca_file=certificates.ca) as sink:
            send(sink, *rows_of(table_of(), 500))
        with (
            sink_of(made.port, tmp_path, tls=True, ca_file=certificates.other_ca) as sink,
            pytest.raises(SinkUnavailable, match="its certificate: ") as raised,
        ):
            send(sink, *rows_of(table_of(), 1))
        assert raised.value.operator


@pytest.mark.parametrize("refusal", [OldBroker.refusal, b""])
def test_an_old_broker_is_spoken_to_in_its_language(tmp_path: Path, refusal: bytes) -> None:
    old = OldBroker(b"")
    old.refusal = refusal
    try:
        with sink_of(old.port, tmp_path, status_topic=None) as sink:
            send(sink, *rows_of(table_of(), 1))
            assert sink.status()["protocol"] == "3.1.1"
        assert old.versions == [5, 4]
    finally:
        old.close()


def test_what_is_no_payload_of_ours_is_rejected(made: Broker, tmp_path: Path) -> None:
    with sink_of(made.port, tmp_path) as sink:
        for body, format_, words in (
            (b"x", "lp", "format lp is not for MQTT"),
            (b"x\n", "mqtt1", "a line is no message"),
        ):
            with pytest.raises(Rejected, match=words):
                sink.deliver(body, format_)


# -- faults of the connection


def test_a_broker_that_hangs_is_given_up_in_time(made: Broker, tmp_path: Path) -> None:
    with sink_of(made.port, tmp_path, timeout_s=2.0) as sink:
        send(sink, *rows_of(table_of(), 1))
        made.pause()
        begun = time.monotonic()
        try:
            with pytest.raises(SinkUnavailable, match="not done in time"):
                send(sink, *rows_of(table_of(), 1, 1))
        finally:
            made.resume()
        assert time.monotonic() - begun < 8
        send(sink, *rows_of(table_of(), 1, 2))


def test_nobody_there(tmp_path: Path) -> None:
    with (
        sink_of(free_port(), tmp_path) as sink,
        pytest.raises(SinkUnavailable, match="Connection refused") as raised,
    ):
        send(sink, *rows_of(table_of(), 1))
    assert not raised.value.operator


@pytest.mark.timeout(120)
def test_every_row_comes_although_the_broker_is_killed_again_and_again(tmp_path: Path) -> None:
    port = free_port()
    folder = tmp_path / "broker"
    lines = ("persistence true", f"persistence_location {folder}/", "autosave_interval 1",
             "autosave_on_changes true", "max_inflight_messages 0")  # fmt: skip
    chain = Chain(tmp_path, "mqtt")
    chain.start(type="mqtt", host="127.0.0.1", port=port, timeout_s=2.0)
    sink = chain.sink
    assert isinstance(sink, MqttSink)
    table = table_of()
    acknowledged = 0
    for at in range(0, 1200, 400):
        with (
            broker(folder, *lines, port=port) as made,
            heard(port, ROWS, session="ear") as messages,
        ):
            chain.publish(*rows_of(table, 399, at))
            until(lambda: len(messages) > 100, 20, "some messages")
            made.kill()
            chain.publish(*rows_of(table, 1, at + 399))  # it may have had all others by now
            chain.state("retrying")
            # these the broker may have taken to its grave; from here on all have to come
            acknowledged = chain.writer.status()["rows_stored"] + sink._out[1]
    # the sink may be at the broker again before the subscriber is
    with broker(folder, *lines, port=port), heard(port, ROWS, session="ear") as messages:
        chain.settled(1200)
        status = chain.writer.status()
        until(lambda: set(times(messages)) >= set(range(acknowledged, 1200)), 20, "the last rows")
    chain.stop()
    assert (status["rows_stored"], status["rows_rejected"]) == (1200, 0)
    assert chain.losses == []


def test_what_was_acknowledged_of_a_batch_is_not_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    with sink_of(port, tmp_path, in_flight=20, timeout_s=30.0) as sink:
        (payload,) = sink.encode(selected(*rows_of(table_of(), 5000)))
        is_out = sink._one_is_out
        with broker(tmp_path / "broker", port=port) as made:

            def kill_midway() -> None:
                is_out()
                if sink._out[1] == 500:
                    made.kill()

            # by the thread that delivers, so that it is never through before
            monkeypatch.setattr(sink, "_one_is_out", kill_midway)
            with pytest.raises(SinkUnavailable):
                sink.deliver(payload.body, payload.format)
        done = sink._out[1]
        assert 400 < done < 5000
        with broker(tmp_path / "broker", port=port), heard(port, ROWS) as second:
            sink.deliver(payload.body, payload.format)
            until(lambda: len(second) == 5000 - done, 20, "the rest")
    assert times(second) == list(range(done, 5000))


def test_a_close_ends_a_wait_at_once(made: Broker, tmp_path: Path) -> None:
    chain = Chain(tmp_path, "mqtt")
    chain.start(type="mqtt", host="127.0.0.1", port=made.port, timeout_s=60.0)
    chain.publish(*rows_of(table_of(), 1))
    chain.settled(1)
    made.pause()
    try:
        chain.publish(*rows_of(table_of(), 1, 1))
        until(lambda: chain.writer.status()["pending_rows"] == 1)
        begun = time.monotonic()
        chain.writer.stop(1.0)
        assert time.monotonic() - begun < 20
    finally:
        made.resume()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"topic": "a/+/b"}, r"holds no '\+'"),
        ({"topic": "a/\tb"}, "control characters"),
        ({"topic": "$SYS/x"}, "does not begin with"),
        ({"topic": "a/{tag}"}, "'{tag}' is not known"),
        ({"status_topic": "a/{device}"}, "may hold only {gateway}"),
        ({"password_file": "x"}, "needs a `user`"),
        ({"key_file": "x"}, "belong together"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MqttConfig.model_validate({"type": "mqtt", "host": "h", **settings})
