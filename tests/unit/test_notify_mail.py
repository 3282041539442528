"""Mail against aiosmtpd: protected lines, passwords, refusals, a server that goes and comes."""

from __future__ import annotations

import email
import email.policy
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from gateway.alarms.notify import make_channel
from gateway.alarms.notify.notice import Undelivered
from tests.support import free_port, until
from tests.unit.notifykit import Certificates, config, make_certificates, notice, running

PASSWORD = "pa55-of-the-mail"


class Box:
    """Takes mails, and refuses what it is told to."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.envelopes: list[Envelope] = []
        self.answer = "250 OK"
        self.unknown: tuple[str, ...] = ()
        self.users: list[tuple[str, bool]] = []
        """(who, whether the line was protected) of each log-in."""

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.unknown:
            return "550 5.1.1 no such person"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.answer.startswith("250"):
            raw = envelope.content if isinstance(envelope.content, bytes) else b""
            mail = email.message_from_bytes(raw, policy=email.policy.default)
            assert isinstance(mail, EmailMessage)
            self.mails.append(mail)
            self.envelopes.append(envelope)
        return self.answer

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        transport = server.transport
        is_protected = transport is not None and transport.get_extra_info("ssl_object") is not None
        self.users.append((data.login.decode(), is_protected))
        good = data.password == PASSWORD.encode()
        return AuthResult(success=good, handled=False)


@contextmanager
def server(box: Box, port: int = 0, **options: Any) -> Iterator[int]:
    port = port or free_port()
    controller = Controller(box, "127.0.0.1", port, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def context(certificates: Certificates) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificates.cert, certificates.key)
    return made


def mail(port: int, **keys: Any) -> Any:
    given = {"security": "none", "digest_s": 0.0, "timeout_s": 5.0, **keys}
    return config(
        "email", host="127.0.0.1", port=port, to=["shift@plant.example", "boss@plant.example"],
        **{"from": "gateway@plant.example"}, **given,
    )  # fmt: skip


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


def test_a_mail_reaches_all_recipients(tmp_path: Path) -> None:
    box = Box()
    with server(box) as port, running(tmp_path, one=mail(port)) as run:
        run.put(1)
        run.wait_sent(1)
    (got,) = box.mails
    assert got["Subject"] == "[hall-3] HIGH press_1/force.high unacknowledged"
    assert got["To"] == "shift@plant.example, boss@plant.example"
    assert "force is 1 kN" in got.get_content()
    assert box.envelopes[0].rcpt_tos == ["shift@plant.example", "boss@plant.example"]
    assert box.envelopes[0].mail_from == "gateway@plant.example"


def test_many_alarms_go_in_one_mail(tmp_path: Path) -> None:
    box = Box()
    with server(box) as port:
        with running(tmp_path, stop_s=20.0, one=mail(port, digest_s=3600.0)) as run:
            run.put(1)
            run.wait_sent(1)
            run.put(*range(2, 31))
            assert len(box.mails) == 1
        # the stop does not wait for the digest
        assert len(box.mails) == 2
    assert box.mails[1]["Subject"].strip().startswith("[hall-3] 29 messages, the worst HIGH")
    assert all(f"force is {n} kN" in box.mails[1].get_content() for n in range(2, 31))


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_password_goes_over_a_protected_line(
    tmp_path: Path, certificates: Certificates, security: str
) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    box = Box()
    key = "tls_context" if security == "starttls" else "ssl_context"
    options: dict[str, Any] = {key: context(certificates), "authenticator": box.authenticate}
    if security == "starttls":
        options |= {"require_starttls": True, "auth_required": True}
    else:
        options["auth_require_tls"] = False  # it does not know that all of it is protected
    keys = {"user": "gw", "password_file": tmp_path / "password", "ca_file": certificates.ca}
    one = mail(1, security=security, **keys)
    with (
        server(box, **options) as port,
        running(tmp_path, one=one.model_copy(update={"port": port})) as run,
    ):
        run.put(1)
        run.wait_sent(1)
        (tmp_path / "password").write_text("wrong-of-the-mail")
        run.put(2)
        words = run.wait_error("535 ")["error"]
        assert "wrong-of-the-mail" not in words
        assert run.status()["waiting"] == 1
    assert box.users[0] == ("gw", True)
    assert len(box.mails) == 1


def test_the_certificate_is_verified(tmp_path: Path, certificates: Certificates) -> None:
    box = Box()
    other = {"ca_file": certificates.other_ca}
    with (
        server(box, tls_context=context(certificates)) as starttls,
        server(box, ssl_context=context(certificates)) as tls,
        running(
            tmp_path,
            starttls=mail(starttls, security="starttls", **other),
            tls=mail(tls, security="tls", **other),
        ) as run,
    ):
        run.put(1)
        run.wait_error("its certificate: ", "starttls")
        run.wait_error("its certificate: ", "tls")
    assert box.mails == []


def test_a_server_without_starttls_gets_nothing(tmp_path: Path) -> None:
    box = Box()
    with server(box) as port, running(tmp_path, one=mail(port, security="starttls")) as run:
        run.put(1)
        run.wait_error("no STARTTLS: ")
    assert box.mails == []


def test_one_recipient_who_is_refused_does_not_keep_it_from_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    box = Box()
    box.unknown = ("boss@plant.example",)
    with server(box) as port, running(tmp_path, one=mail(port)) as run:
        run.put(1)
        run.wait_sent(1)
        run.put(2)
        run.wait_sent(2)
        box.unknown = ("boss@plant.example", "shift@plant.example")
        run.put(3)
        run.wait_error("no such person")
        box.unknown = ()
        run.wait_sent(3)
    lines = [r for r in caplog.records if r.message == "a mail does not reach all recipients"]
    assert [line.levelno for line in lines] == [logging.WARNING]


def test_a_mail_that_the_server_never_takes_is_given_up(tmp_path: Path) -> None:
    box = Box()
    box.answer = "554 5.7.1 looks like spam"
    with server(box) as port, running(tmp_path, one=mail(port)) as run:
        run.put(1)
        until(lambda: run.status()["dropped"] == {"refused": 1}, what="given up")
        run.wait_error("554 5.7.1 looks like spam")  # told after it was counted
        box.answer = "451 later"
        run.put(2)
        run.wait_error("451 later")
        box.answer = "250 OK"
        run.wait_sent(1)
    assert "1 refused" in box.mails[0].get_content()


def test_a_server_that_goes_and_comes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway")
    box, port = Box(), free_port()
    with running(tmp_path, one=mail(port)) as run:
        with server(box, port):
            run.put(1)
            run.wait_sent(1)
        run.put(2)
        run.wait_error("refused")
        run.put(3)
        with server(box, port):
            run.wait_sent(3)
    assert len(box.mails) >= 2
    lines = [r.message for r in caplog.records if r.name == "gateway.notify"]
    assert lines == ["a notifier does not get through", "a notifier gets through again"]


@pytest.mark.parametrize("greeting", [b"", b"220 a", b"554 go away\r\n", b"\x00\xff\r\n"])
def test_a_server_that_is_none_is_cut_off(greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.sendall(greeting)
                while greeting in (b"", b"220 a") and not stop.wait(0.05):
                    try:
                        sock.sendall(greeting[-1:])
                    except OSError:
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        begun = time.monotonic()
        try:
            with pytest.raises(Undelivered) as caught:
                make_channel(mail(listener.getsockname()[1], timeout_s=0.5)).send([notice()])
        finally:
            stop.set()
            thread.join()
    assert time.monotonic() - begun < 15
    assert "127.0.0.1:" in str(caught.value)
    assert str(caught.value).isprintable()
