"""A door before the Influx engine that passes every request, or answers wrongly as told."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from tests.sims.http_faults import Answer
from tests.sims.influx_peer import HttpServer


class Gate:
    """Serves on a port of its own until closed."""

    def __init__(self, target_url: str) -> None:
        self.target = urlsplit(target_url)
        self.fault: Answer | None = None
        """What is answered instead; None: the engine's own answer."""
        self.stores = False
        """With a fault: whether the engine stores the request all the same."""
        self.faulted = 0
        """Requests that were answered wrongly."""
        self.stop = threading.Event()
        gate = self

        class Door(_Door):
            owner = gate

        self._server = HttpServer(("127.0.0.1", 0), Door)
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        """End all connections."""
        self.stop.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Door(BaseHTTPRequestHandler):
    owner: Gate
    protocol_version = "HTTP/1.1"
    timeout = 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        fault = self.owner.fault
        if fault is None or self.owner.stores:
            status, said = self._ask(body)
        if fault is None:
            self._say(status, said)
            return
        self.owner.faulted += 1
        self.close_connection = True
        if isinstance(fault, bytes):
            self.connection.sendall(fault)
        else:
            fault(self.connection, self.owner.stop)

    def _ask(self, body: bytes) -> tuple[int, bytes]:
        target = self.owner.target
        link = http.client.HTTPConnection(str(target.hostname), target.port, timeout=30)
        try:
            link.request("POST", self.path, body, dict(self.headers))
            answer = link.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 502, b""
        finally:
            link.close()

    def _say(self, status: int, said: bytes) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass
