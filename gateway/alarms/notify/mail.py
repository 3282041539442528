"""Mail by SMTP: what came since the last mail in one, protected by STARTTLS or TLS."""

from __future__ import annotations

import logging
import smtplib
import socket
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from email.utils import formatdate

from gateway.alarms.model import ORDER
from gateway.alarms.notify.channel import Channel
from gateway.alarms.notify.credentials import read_secret, tls_context
from gateway.alarms.notify.deadline import Deadline
from gateway.alarms.notify.dial import Sends, connect, said, secured
from gateway.alarms.notify.notice import Notice, Undelivered, bounded, time_text
from gateway.alarms.notify.settings import EmailConfig
from gateway.errors import GatewayError
from gateway.terminal import count, number

log = logging.getLogger("gateway.notify")

PORTS = {"starttls": 587, "tls": 465, "none": 25}

MOST_IN_A_MAIL = 200

MAX_SUBJECT = 150

POISON_TRIES = 3
"""So often a mail is tried that the server does not take for what stands in it."""


class EmailChannel(Channel):
    """Sends by one server; a connection for each mail."""

    most_at_once = MOST_IN_A_MAIL

    def __init__(self, config: EmailConfig) -> None:
        self._config = config
        self._port = config.port or PORTS[config.security]
        self._where = f"{config.host}:{self._port}"
        self._sends = Sends()
        self._turned_away: tuple[str, ...] = ()
        self.pace_s = config.digest_s
        self.longest_s = config.timeout_s

    def send(self, notices: Sequence[Notice]) -> None:
        """One mail with all of them; it is out when the server has taken it."""
        mail = message_of(notices, self._config.from_, self._config.to)
        with self._sends.within(self._config.timeout_s, self._where) as deadline:
            try:
                self._deliver(mail, deadline)
            except smtplib.SMTPException as error:
                if deadline.over:
                    raise
                raise self._undelivered(error) from error

    def interrupt(self) -> None:
        """End the send that is under way."""
        self._sends.end()

    def _deliver(self, mail: EmailMessage, deadline: Deadline) -> None:
        config = self._config
        password = read_secret(
            "the mail password", config.password_file, config.password_credential
        )
        context = None if config.security == "none" else tls_context(config.ca_file)
        server = _Server(config.host, self._port, deadline)
        try:
            if config.security == "tls" and context is not None:
                server.secure_from_the_start(context)
            else:
                server.begin()
            server.ehlo_or_helo_if_needed()
            if config.security == "starttls" and context is not None:
                server.begin_tls(context)
            if config.user is not None and password is not None:
                server.login(config.user, password)
            refused = server.send_message(mail, config.from_, config.to)
            self._tell_refused(refused)
            server.say_goodbye()
        finally:
            server.close()

    def _tell_refused(self, refused: dict[str, tuple[int, bytes]]) -> None:
        """Others got it, so it is not sent again; but somebody has to know."""
        turned_away = tuple(sorted(refused))
        if turned_away and turned_away != self._turned_away:
            words = "; ".join(f"{to}: {code} {said(text)}" for to, (code, text) in refused.items())
            log.warning("a mail does not reach all recipients", extra={"reason": words})
        self._turned_away = turned_away

    def _undelivered(self, error: smtplib.SMTPException) -> GatewayError:
        where = self._where
        if isinstance(error, smtplib.SMTPRecipientsRefused):
            to, (code, text) = next(iter(error.recipients.items()))
            return Undelivered(f"{where}: {to}: {code} {said(text)}", operator=code >= 500)
        if isinstance(error, smtplib.SMTPNotSupportedError):
            return Undelivered(f"{where}: {said(str(error))}", operator=True)
        if isinstance(error, smtplib.SMTPResponseException):
            what = f"{where}: {error.smtp_code} {said(error.smtp_error)}"
            if isinstance(error, smtplib.SMTPDataError) and error.smtp_code >= 500:
                return Undelivered(what, poison=POISON_TRIES)
            return Undelivered(what, operator=error.smtp_code >= 500)
        return Undelivered(f"{where}: {said(str(error))}")


class _Server(smtplib.SMTP):
    """One conversation before a deadline."""

    def __init__(self, host: str, port: int, deadline: Deadline) -> None:
        # given, since it would be asked of a name server, which may take any time
        super().__init__(local_hostname=socket.gethostname(), timeout=deadline.left_s)
        self._wanted = (host, port)
        self._deadline = deadline
        self._context: ssl.SSLContext | None = None

    def secure_from_the_start(self, context: ssl.SSLContext) -> None:
        """Connect with TLS before a word is said."""
        self._context = context
        self.begin()

    def begin(self) -> None:
        """Connect; Undelivered where the server does not greet."""
        host, port = self._wanted
        code, words = self.connect(host, port)
        if code != 220:
            raise Undelivered(f"{host}:{port}: {code} {said(words)}", operator=code >= 500)

    def begin_tls(self, context: ssl.SSLContext) -> None:
        """STARTTLS (RFC 3207); Undelivered where the server does not do it: never without."""
        host, port = self._wanted
        code, words = self.docmd("STARTTLS")
        if code != 220:
            what = f"{host}:{port}: no STARTTLS: {code} {said(words)}"
            raise Undelivered(what, operator=True)
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("the connection is gone")
        # what came before the handshake was not protected, and is forgotten
        self.sock = secured(self.sock, context, host, self._deadline)
        self.file = None
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False
        self.ehlo_or_helo_if_needed()

    def say_goodbye(self) -> None:
        """QUIT; the mail is out whatever comes of it."""
        try:
            self.quit()
        except (smtplib.SMTPException, OSError):
            return

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        sock = connect(host, port, self._deadline)
        if "." not in self.local_hostname:  # RFC 5321, 4.1.4: then the address
            address = sock.getsockname()[0]
            self.local_hostname = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
        return sock if self._context is None else secured(sock, self._context, host, self._deadline)


def message_of(notices: Sequence[Notice], sender: str, to: Sequence[str]) -> EmailMessage:
    """The mail that tells them, oldest first."""
    first, last = notices[0], notices[-1]
    mail = EmailMessage(POLICY)
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Date"] = formatdate(localtime=False)
    # the same mail has the same name in every try
    mail["Message-ID"] = f"<{first.key}-{last.transition.number}@edge-gateway.invalid>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answer of an absent person
    mail["Subject"] = subject_of(notices)
    lines = [_paragraph(notice) for notice in notices]
    if first.dropped:
        said_ = ", ".join(f"{n:,} {cause}" for cause, n in first.dropped.items())
        lines.insert(0, f"Messages that were dropped since the last mail: {said_}\n")
    mail.set_content("\n".join(lines))
    return mail


def subject_of(notices: Sequence[Notice]) -> str:
    """``[hall-3] HIGH press_1/force.high unacknowledged``, or how many of which severity."""
    worst = max(notices, key=lambda n: ORDER[n.transition.severity]).transition
    gateway = bounded(notices[0].gateway)
    t = notices[0].transition
    if notices[0].is_test:
        text = f"[{gateway}] Test: no alarm"
    elif len(notices) == 1:
        text = f"[{gateway}] {t.severity.upper()} {bounded(t.id)} {t.state}"
    else:
        text = f"[{gateway}] {count(len(notices), 'message')}, the worst {worst.severity.upper()}"
        text += f" {bounded(worst.id)} {worst.state}"
    return text if len(text) <= MAX_SUBJECT else f"{text[:MAX_SUBJECT]}..."


def _paragraph(notice: Notice) -> str:
    t = notice.transition
    lines = [
        f"{time_text(t.time_ns)}  {t.severity.upper()}  {bounded(t.id)}",
        f"  {t.from_state} -> {t.state}: {bounded(t.message)}",
    ]
    if t.value is not None:
        text = f"  value {number(t.value)} {bounded(t.unit)}".rstrip()
        if t.limit is not None:
            text += f", limit {number(t.limit)} {bounded(t.unit)}".rstrip()
        lines.append(text)
    if t.who:
        lines.append(f"  by {bounded(t.who)}: {bounded(t.why)}")
    if t.first_out:
        lines.append("  the first of its device")
    if notice.is_late:
        lines.append("  late: it came before the gateway was restarted")
    return "\n".join(lines) + "\n"
