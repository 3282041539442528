"""``POST /api/v2/write``: one request, one answer, over urllib3.

Source: the InfluxDB v2 API reference, "Write data". The official client is not used: its write
service adds this one request to what urllib3 does, and 393 modules (docs/decisions/0011).
"""

from __future__ import annotations

import json
from typing import NamedTuple
from urllib.parse import urlencode

import urllib3

from gateway import __version__
from gateway.sinks.influxdb.bounded_http import Transport


class Answer(NamedTuple):
    """What the server said; ``words`` in its own, of the body or else of a header."""

    status: int
    words: str
    retry_after: str | None


class WriteApi:
    """One server, over one connection that stays open."""

    def __init__(
        self, url: str, org: str, bucket: str, token: str, timeout_s: float, transport: Transport
    ) -> None:
        query = urlencode({"org": org, "bucket": bucket, "precision": "ns"})
        self._url = f"{url}/api/v2/write?{query}"
        self._headers = {
            "Content-Type": "text/plain; charset=utf-8",
            "Accept": "application/json",
            "User-Agent": f"edge-gateway/{__version__}",
        }
        if token:
            self._headers["Authorization"] = f"Token {token}"
        self._pool = urllib3.PoolManager(
            num_pools=1, maxsize=1, retries=False, timeout=urllib3.Timeout(timeout_s)
        )
        transport.install(self._pool)

    def post(self, body: bytes, *, gzipped: bool) -> Answer:
        """Send lines. No redirect is followed and nothing is sent twice.

        Raises urllib3's HTTPError, http.client's HTTPException or OSError where there is no answer,
        ValueError where no request can be made of address or token.
        """
        encoding = "gzip" if gzipped else "identity"
        response = self._pool.request(
            "POST",
            self._url,
            body=body,
            headers={**self._headers, "Content-Encoding": encoding},
            redirect=False,
            retries=False,
        )
        return Answer(response.status, _words(response), response.headers.get("Retry-After"))

    def close(self) -> None:
        """Close the connection."""
        self._pool.clear()


def _words(response: urllib3.BaseHTTPResponse) -> str:
    """The message of the body, the body, a header for it, or the reason phrase."""
    if text := response.data.decode("utf-8", "replace"):
        try:
            document = json.loads(text)
        except ValueError:
            return text
        said = document.get("message") if isinstance(document, dict) else None
        return said if isinstance(said, str) else text
    for header in ("X-Platform-Error-Code", "X-Influx-Error", "X-InfluxDb-Error"):
        if said := response.headers.get(header):
            return str(said)
    return str(response.reason or "")
