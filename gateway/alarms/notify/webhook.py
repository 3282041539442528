"""Webhook: a POST of JSON, signed as Standard Webhooks 1.0 has it (standardwebhooks.com).

``webhook-id`` is the same in every try, so that a receiver can tell what it has already;
``webhook-signature`` is ``v1,`` and the base64 of HMAC-SHA256 over ``id.timestamp.body``.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import http.client
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from gateway import __version__
from gateway.alarms.notify.channel import Channel
from gateway.alarms.notify.credentials import read_secret, tls_context
from gateway.alarms.notify.deadline import Deadline
from gateway.alarms.notify.dial import Sends, connect, said, secured
from gateway.alarms.notify.notice import Notice, Refused, Undelivered
from gateway.alarms.notify.settings import WebhookConfig

REFUSED = (400, 409, 413, 415, 422)
"""It is this message that the receiver does not take: sending it again helps nothing."""

LATER = (408, 425, 429)

MAX_ANSWER_BYTES = 2048
"""Of an answer that says no: as much is read as is told."""

SECRET_PREFIX = "whsec_"


class WebhookChannel(Channel):
    """Sends to one address; a connection for each message."""

    def __init__(self, config: WebhookConfig) -> None:
        self._config = config
        self._sends = Sends()
        parts = urlsplit(config.url)
        self._is_tls = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._is_tls else 80)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._where = f"{self._host}:{self._port}"
        self.longest_s = config.timeout_s

    def send(self, notices: Sequence[Notice]) -> None:
        """POST one message; only an answer of 2xx counts."""
        (notice,) = notices
        body = notice.body()
        headers = self._headers(notice.key, body)
        with self._sends.within(self._config.timeout_s, self._where) as deadline:
            connection = self._open(deadline)
            try:
                connection.request("POST", self._target, body, headers)
                response = connection.getresponse()
                if deadline.over:  # a head that was cut off would pass for a whole one
                    raise TimeoutError
                if 200 <= response.status < 300:
                    return
                answer = response.read(MAX_ANSWER_BYTES) if response.status >= 400 else b""
            except (http.client.HTTPException, ValueError) as error:
                if deadline.over:
                    raise
                raise Undelivered(f"{self._where}: no answer of HTTP: {error!r}") from error
            finally:
                connection.close()
        self._refused(response, answer)

    def interrupt(self) -> None:
        """End the send that is under way."""
        self._sends.end()

    def _open(self, deadline: Deadline) -> http.client.HTTPConnection:
        # the context first: a certificate file that cannot be read needs no connection
        context = tls_context(self._config.ca_file) if self._is_tls else None
        sock = connect(self._host, self._port, deadline)
        if context is not None:
            sock = secured(sock, context, self._host, deadline)
        connection = http.client.HTTPConnection(self._host, self._port)
        connection.default_port = 443 if self._is_tls else 80  # left out of Host
        connection.auto_open = 0
        connection.sock = sock
        return connection

    def _headers(self, key: str, body: bytes) -> dict[str, str]:
        at = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"edge-gateway/{__version__}",
            "Connection": "close",
            "webhook-id": key,
            "webhook-timestamp": at,
        }
        config = self._config
        secret = read_secret("the secret", config.secret_file, config.secret_credential)
        if secret is not None:
            headers["webhook-signature"] = signature(secret, key, at, body)
        return headers

    def _refused(self, response: http.client.HTTPResponse, answer: bytes) -> None:
        status = response.status
        what = f"{self._where}: HTTP {status} {said(response.reason)}".rstrip()
        if words := said(answer):
            what += f": {words}"
        if status in REFUSED:
            raise Refused(what)
        if status in LATER or status >= 500:
            raise Undelivered(
                what, retry_after_s=retry_after_s(response.headers.get("Retry-After"))
            )
        if 300 <= status < 400:
            to = said(response.headers.get("Location", ""))
            raise Undelivered(f"{what}, to '{to}', which is not followed", operator=True)
        raise Undelivered(what, operator=True)


def signature(secret: str, key: str, at: str, body: bytes) -> str:
    """The header ``webhook-signature``; Undelivered where the secret is none."""
    raw = secret.encode()
    if secret.startswith(SECRET_PREFIX):
        try:
            raw = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        except binascii.Error as error:
            what = f"the secret: no base64 after {SECRET_PREFIX}"
            raise Undelivered(what, operator=True) from error
    digest = hmac.digest(raw, f"{key}.{at}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


def retry_after_s(given: str | None) -> float:
    """Seconds to wait, of a header Retry-After in either form (RFC 9110, 10.2.3); 0: none."""
    text = (given or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return 0.0
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
