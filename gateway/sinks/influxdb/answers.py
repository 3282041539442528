"""What the answer of a server, or its silence, means for the payload. Only 204 means stored.

Source: the InfluxDB v2 API reference, "Write data"; RFC 9110 for Retry-After.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import urllib3

from gateway.errors import GatewayError, Rejected, SinkUnavailable, TooLarge
from gateway.sinks.influxdb.writeapi import Answer
from gateway.sinks.payload import TooSlow

_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def refusal(answer: Answer) -> GatewayError | None:
    """What to do after an answer; None where the rows are stored."""
    status = answer.status
    if status == 204:
        return None
    if 200 <= status < 300:
        # a captive portal or another server: nobody said that the rows are stored
        return SinkUnavailable(f"the server answered {status} instead of 204")
    words = f"{status} {_SPACE.sub(' ', answer.words).strip()[:500]}".strip()
    if status == 413:
        return TooLarge(words)
    if status in (400, 422):
        return Rejected(words)
    if status in (401, 403, 404):
        return SinkUnavailable(words, operator=True)
    return SinkUnavailable(words, _retry_after_s(answer.retry_after))


def silence(error: Exception, timeout_s: float) -> SinkUnavailable:
    """What to do where there was no answer, or none that could be read."""
    found = re.search(r"\[Errno -?\d+\] ([^'\")]+)", str(error))
    if isinstance(error, urllib3.exceptions.NewConnectionError):  # is a TimeoutError to urllib3
        return SinkUnavailable(f"cannot connect: {found.group(1) if found else error}"[:300])
    if isinstance(error, urllib3.exceptions.SSLError):
        return SinkUnavailable(f"TLS: {error}"[:300], operator=True)
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return SinkUnavailable(f"cannot connect within {timeout_s:g} s")
    if any(isinstance(e, urllib3.exceptions.TimeoutError | TimeoutError) for e in _chain(error)):
        return TooSlow(f"no answer within {timeout_s:g} s")
    if found:
        return SinkUnavailable(f"the connection failed: {found.group(1)}")
    return SinkUnavailable(f"the connection failed: {error}"[:300])


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came of: urllib3 wraps the time-out of a request that is being sent."""
    cause: BaseException | None = error
    for _ in range(10):
        if cause is None:
            return
        yield cause
        yield from (arg for arg in cause.args if isinstance(arg, BaseException))
        cause = cause.__cause__ or cause.__context__


def _retry_after_s(value: str | None) -> float | None:
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
