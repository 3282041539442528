"""MQTT against mosquitto: QoS 1, TLS, passwords, refusals, a broker that goes and comes back."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.alarms.notify import make_channel
from gateway.alarms.notify.notice import Undelivered
from tests.sims.http_faults import FaultServer, hang, reset
from tests.sims.mosquitto import Broker, broker, heard
from tests.support import free_port, need_program, until
from tests.unit.notifykit import (
    Certificates,
    config,
    make_certificates,
    notice,
    running,
    transition,
)

pytestmark = pytest.mark.servers

OLD_CONNACK = b"\x20\x02\x00\x01"
"""What a broker of MQTT 3.1.1 says to one of MQTT 5: unacceptable protocol version."""


def mqtt(port: int, **keys: Any) -> Any:
    return config("mqtt", host="127.0.0.1", port=port, **{"timeout_s": 5.0, **keys})


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def running_broker(tmp_path: Path) -> Iterator[Broker]:
    with broker(tmp_path / "broker") as made:
        yield made


def test_a_message_is_published_to_its_topic(tmp_path: Path, running_broker: Broker) -> None:
    port = running_broker.port
    with heard(port) as messages, running(tmp_path, one=mqtt(port)) as run:
        run.put(1, 2, 3)
        run.wait_sent(3)
        until(lambda: len(messages) == 3, what="three messages")
    assert [orjson.loads(m.payload)["number"] for m in messages] == [1, 2, 3]
    assert {m.topic for m in messages} == {"hall-3/alarms/press_1/force.high"}
    assert {m.qos for m in messages} == {1}
    assert not any(m.retain for m in messages)


def test_a_name_cannot_change_the_levels_of_a_topic(tmp_path: Path, running_broker: Broker) -> None:
    port = running_broker.port
    one = mqtt(port, topic="plant/{severity}/{device}/{state}")
    with heard(port) as messages, running(tmp_path, one=one) as run:
        run.notifiers.put(transition(1, device="a/+/#\n"))
        run.wait_sent(1)
        until(lambda: messages, what="the message")
    assert messages[0].topic == "plant/high/a____\\n/unacknowledged"


def test_a_retained_message_waits_for_newcomers_but_no_test(
    tmp_path: Path, running_broker: Broker
) -> None:
    port = running_broker.port
    with running(tmp_path, one=mqtt(port, retain=True)) as run:
        run.put(1)
        run.wait_sent(1)
        run.notifiers.test("one", "anna")
    with heard(port) as messages:
        until(lambda: messages, what="the retained one")
        assert [m.topic for m in messages] == ["hall-3/alarms/press_1/force.high"]


def test_a_broker_that_is_killed_and_comes_back(
    tmp_path: Path, running_broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway")
    port = running_broker.port
    with running(tmp_path, one=mqtt(port)) as run:
        run.put(1)
        run.wait_sent(1)
        running_broker.kill()
        run.put(2, 3)
        run.wait_error("refused")
        running_broker.start()
        with heard(port):
            run.wait_sent(3)
    lines = [r.message for r in caplog.records if r.name == "gateway.notify"]
    assert lines == ["a notifier does not get through", "a notifier gets through again"]


def test_no_connection_is_kept_when_nothing_waits(tmp_path: Path, running_broker: Broker) -> None:
    log = tmp_path / "broker" / "mosquitto.log"
    with running(tmp_path, one=mqtt(running_broker.port)) as run:
        run.put(1)
        run.wait_sent(1)
        until(lambda: "disconnected." in log.read_text(), what="the good-bye")
    assert log.read_text().count("New client connected") == 1
    assert "(p5," in log.read_text()  # MQTT 5


def test_a_thousand_messages_take_one_connection(tmp_path: Path, running_broker: Broker) -> None:
    log = tmp_path / "broker" / "mosquitto.log"
    port = running_broker.port
    with heard(port) as messages, running(tmp_path, one=mqtt(port)) as run:
        connected = log.read_text().count("New client connected")
        # nothing is taken before all wait: else the queue may run dry, which ends the connection
        with run.notifiers._by_name["one"]._wake:
            run.put(*range(1, 1001))
        run.wait_sent(1000)
        until(lambda: len(messages) == 1000, what="all of them")
        assert log.read_text().count("New client connected") <= connected + 2
    assert [orjson.loads(m.payload)["number"] for m in messages] == list(range(1, 1001))


def test_user_and_password(tmp_path: Path) -> None:
    users = tmp_path / "users"
    program = need_program("mosquitto_passwd", "mosquitto")
    subprocess.run([program, "-c", "-b", str(users), "gw", "pa55-of-mqtt"], check=True)
    (tmp_path / "password").write_text("pa55-of-mqtt\n")
    (tmp_path / "wrong").write_text("wrong-of-mqtt\n")
    lines = ("allow_anonymous false", f"password_file {users}")
    with (
        broker(tmp_path / "broker", *lines) as made,
        running(
            tmp_path,
            good=mqtt(made.port, user="gw", password_file=tmp_path / "password"),
            wrong=mqtt(made.port, user="gw", password_file=tmp_path / "wrong"),
            nobody=mqtt(made.port),
        ) as run,
    ):
        run.put(1)
        run.wait_sent(1, "good")
        assert "wrong-of-mqtt" not in str(run.wait_error("Not authorized", "wrong"))
        run.wait_error("Not authorized", "nobody")


def test_a_topic_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    rights = tmp_path / "rights"
    rights.write_text("topic write allowed/#\n")
    with broker(tmp_path / "broker", f"acl_file {rights}") as made:
        good, bad = mqtt(made.port, topic="allowed/{alarm}"), mqtt(made.port, topic="other")
        with running(tmp_path, good=good, bad=bad) as run:
            run.put(1)
            run.wait_sent(1, "good")
            run.wait_error("topic other: Not authorized", "bad")


def test_tls_is_verified(tmp_path: Path, certificates: Certificates) -> None:
    lines = (f"certfile {certificates.cert}", f"keyfile {certificates.key}")
    with broker(tmp_path / "broker", *lines) as made:
        port = made.port
        with running(
            tmp_path,
            good=mqtt(port, tls=True, ca_file=certificates.ca),
            system=mqtt(port, tls=True),
            plain=mqtt(port, timeout_s=1.0),
        ) as run:
            run.put(*range(1, 51))
            run.wait_sent(50, "good")
            run.wait_error("its certificate: ", "system")
            run.wait_error("127.0.0.1:", "plain")


def test_an_own_certificate_is_shown(tmp_path: Path, certificates: Certificates) -> None:
    lines = (
        f"certfile {certificates.cert}",
        f"keyfile {certificates.key}",
        f"cafile {certificates.ca}",
        "require_certificate true",
    )
    own = {"cert_file": certificates.cert, "key_file": certificates.key}
    with broker(tmp_path / "broker", *lines) as made:
        keys = {"tls": True, "ca_file": certificates.ca}
        good, none = mqtt(made.port, **keys, **own), mqtt(made.port, **keys)
        with running(tmp_path, good=good, none=none) as run:
            run.put(1)
            run.wait_sent(1, "good")
            until(lambda: run.status("none")["error"], what="an error")


class OldBroker(FaultServer):
    """Speaks MQTT 3.1.1 only, as mosquitto behind it does, and refuses or drops any other."""

    refusal: bytes = OLD_CONNACK
    versions: list[int]

    def _read(self, sock: Any) -> tuple[bytes, bytes] | None:
        self.versions = getattr(self, "versions", [])
        data = b""
        while not self._stop.is_set():
            try:
                chunk = sock.recv(4096)
            except TimeoutError:
                continue
            if not chunk:
                return None
            data += chunk
            if data[0] == 0x10 and len(data) > 8:  # CONNECT
                self.versions.append(data[8])
                if data[8] == 5:
                    sock.sendall(self.refusal)
                    return None
                sock.sendall(b"\x20\x02\x00\x00")
                data = b""
            elif data[0] & 0xF0 == 0x30 and len(data) > 100:  # PUBLISH, QoS 1
                skip = 1 + next(i for i in range(1, 5) if data[i] < 0x80)
                length = int.from_bytes(data[skip : skip + 2], "big")
                sock.sendall(b"\x40\x02" + data[skip + 2 + length : skip + 4 + length])
                data = b""
        return None


@pytest.mark.parametrize("refusal", [OLD_CONNACK, b""], ids=["says so", "hangs up"])
def test_a_broker_that_knows_only_the_old_version(tmp_path: Path, refusal: bytes) -> None:
    server = OldBroker(b"")
    server.refusal = refusal
    try:
        with running(tmp_path, one=mqtt(server.port)) as run:
            run.put(1)
            run.wait_sent(1)
            until(lambda: server.ended >= 2, what="the good-bye")
            run.put(2)
            run.wait_sent(2)
        assert server.versions == [5, 4, 4]
    finally:
        server.close()


@pytest.mark.parametrize(
    ("answer", "timeout_s", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", 0.5, "127.0.0.1:"),
        (b"\x20\xff\xff\xff\x7f" + b"x" * 100, 0.5, "not done within"),
        (b"\x20\x03\x00\x97\x00", 10.0, "Quota exceeded"),
        (b"\xf0\x00", 0.5, "127.0.0.1:"),
        (b"", 0.5, "not done within"),
    ],
    ids=["http", "endless", "quota", "auth", "silent"],
)
def test_what_is_no_broker_is_cut_off(
    tmp_path: Path, answer: bytes, timeout_s: float, words: str
) -> None:
    class Wrong(OldBroker):
        def _read(self, sock: Any) -> tuple[bytes, bytes] | None:
            sock.sendall(answer)
            while not self._stop.wait(0.02):
                try:
                    if not sock.recv(4096):
                        return None
                except TimeoutError:
                    continue
            return None

    server = Wrong(b"")
    begun = time.monotonic()
    try:
        with pytest.raises(Undelivered, match=words) as caught:
            make_channel(mqtt(server.port, timeout_s=timeout_s)).send([notice()])
    finally:
        server.close()
    assert time.monotonic() - begun < 15
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("fault", [hang, reset])
def test_a_stop_is_not_held_up(tmp_path: Path, fault: Any) -> None:
    class Silent(OldBroker):
        def _read(self, sock: Any) -> tuple[bytes, bytes] | None:
            fault(sock, self._stop)
            return None

    server = Silent(b"")
    try:
        with running(tmp_path, one=mqtt(server.port, timeout_s=60), stop_s=0.4) as run:
            run.put(1, 2)
            until(lambda: server._threads[1:], what="a connection")
        assert run.status()["waiting"] == 2
    finally:
        server.close()


def test_nobody_at_the_port(tmp_path: Path) -> None:
    with running(tmp_path, one=mqtt(free_port())) as run:
        run.put(1)
        run.wait_error("Connection refused")
