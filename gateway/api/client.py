"""Talks to a running gateway over its Unix socket or TCP, with the standard library only."""

from __future__ import annotations

import http.client
import json
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlencode

from gateway.api.address import parse_listen
from gateway.errors import GatewayError

Params = Mapping[str, str | int | None]


class NotRunning(GatewayError):
    """Nobody answers at that address: the gateway is not running."""


class RequestFailed(GatewayError):
    """The gateway answered with an error, in its own words; ``status`` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # a socket with Python's own time-out is refused where the queue is full: unix(7)
            whole_s, part_s = divmod(float(self.timeout or 0.0), 1.0)
            limit = struct.pack("@ll", int(whole_s), int(part_s * 1e6))
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            self.sock.connect(self._path)
            self.sock.settimeout(self.timeout)
        except BlockingIOError as error:
            self.close()
            raise TimeoutError("the queue of connections is full") from error
        except OSError:
            self.close()
            raise


class Client:
    """One gateway. Each call opens a connection of its own, so it may be shared by threads."""

    def __init__(
        self, address: Path | str, *, token: str | None = None, timeout_s: float = 10.0
    ) -> None:
        """``address`` is the path of a Unix socket, or ``host:port`` as text for TCP."""
        self._address = address
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._timeout_s = timeout_s

    def get_json(
        self, path: str, params: Params | None = None, *, timeout_s: float | None = None
    ) -> Any:
        """The JSON document at that path, e.g. ``/v1/status``.

        Raises:
            NotRunning: nobody listens at the address.
            RequestFailed: the gateway refuses, in its own words.
            GatewayError: no permission, no answer in time, or the connection broke.
        """
        return json.loads(self._read(path, params, timeout_s))

    def post_json(
        self,
        path: str,
        params: Params | None = None,
        *,
        body: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Have something done, as the JSON ``body`` says; the JSON document that answers.

        Raises as `get_json`.
        """
        return json.loads(self._read(path, params, timeout_s, "POST", body))

    def get_text(self, path: str, params: Params | None = None) -> str:
        """The text at that path, e.g. ``/metrics``. Raises as `get_json`."""
        return self._read(path, params, None).decode("utf-8")

    def download(
        self, path: str, target: BinaryIO, params: Params | None = None, *, timeout_s: float
    ) -> int:
        """The bytes at that path into a file; how many. Raises as `get_json`."""
        connection, response = self._open(path, params, timeout_s)
        size = 0
        try:
            while piece := response.read(1 << 18):
                size += target.write(piece)
        except (OSError, http.client.HTTPException) as error:
            raise GatewayError(f"the gateway at {self._address} hung up: {error}") from error
        finally:
            response.close()
            connection.close()
        return size

    def stream_lines(self, path: str, params: Params | None = None) -> Iterator[bytes]:
        """The lines of an endless answer such as ``/v1/tail``, as they come, without line ends.

        Ends when the gateway stops. Close the generator to hang up. Raises as `get_json`.
        """
        connection, response = self._open(path, params, self._timeout_s)
        try:
            # lines come when rows come: only a silence longer than the heartbeat is a fault
            if connection.sock is not None:
                connection.sock.settimeout(STREAM_SILENCE_S)
            while line := response.readline():
                if stripped := line.rstrip(b"\r\n"):
                    yield stripped
        except (OSError, http.client.HTTPException) as error:
            raise GatewayError(f"the gateway at {self._address} hung up: {error}") from error
        finally:
            response.close()
            connection.close()

    def _read(
        self,
        path: str,
        params: Params | None,
        timeout_s: float | None,
        method: str = "GET",
        body: Mapping[str, Any] | None = None,
    ) -> bytes:
        limit_s = timeout_s or self._timeout_s
        connection, response = self._open(path, params, limit_s, method, body)
        try:
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            raise GatewayError(f"the gateway at {self._address} hung up: {error}") from error
        finally:
            response.close()
            connection.close()

    def _open(
        self,
        path: str,
        params: Params | None,
        timeout_s: float,
        method: str = "GET",
        body: Mapping[str, Any] | None = None,
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        query = urlencode({k: v for k, v in (params or {}).items() if v is not None})
        connection: http.client.HTTPConnection
        if isinstance(self._address, Path):
            connection = _UnixConnection(self._address, timeout_s)
        else:
            host, port = parse_listen(self._address)
            connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
        headers, raw = self._headers, None
        if body is not None:
            headers = {**headers, "Content-Type": "application/json"}
            raw = json.dumps(body, ensure_ascii=False).encode("utf-8")
        try:
            target = f"{path}?{query}" if query else path
            connection.request(method, target, body=raw, headers=headers)
            response = connection.getresponse()
            if response.status >= 400:
                raise RequestFailed(response.status, _message(response))
        except BaseException as error:
            connection.close()
            if isinstance(error, (OSError, http.client.HTTPException)):
                raise self._translated(error, timeout_s) from error
            raise
        return connection, response

    def _translated(self, error: Exception, timeout_s: float) -> GatewayError:
        where = self._address
        if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
            return NotRunning(f"no gateway is running at {where}")
        if isinstance(error, PermissionError):
            return GatewayError(
                f"no permission to use {where}; run as its owner or join the socket's group"
            )
        if isinstance(error, TimeoutError):
            return GatewayError(f"the gateway at {where} does not answer within {timeout_s:g} s")
        return GatewayError(f"the gateway at {where} cannot be asked: {error or type(error)}")


STREAM_SILENCE_S = 60.0
"""An endless answer has a heartbeat every 15 s; after this much silence the line is dead."""


def _message(response: http.client.HTTPResponse) -> str:
    raw = response.read(65536)
    try:
        body = json.loads(raw)
        error, expected = str(body["error"]), body.get("expected")
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"HTTP {response.status} {response.reason}"
    return f"{error}; {expected}" if expected else error
