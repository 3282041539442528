"""What is said of a peer that no connection can be made to."""

from __future__ import annotations

import socket
import threading

import pytest

from gateway.errors import DeviceUnavailable
from tests.sims.s7_peer import s7_device

TAGS = [("a", "DB1.DBD0", "real")]


@pytest.mark.parametrize(
    ("code", "said"),
    [(socket.EAI_NONAME, "is not known"), (socket.EAI_AGAIN, "is not known: no name server")],
)
def test_a_name_that_does_not_exist_is_said_to_be_unknown(
    code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    driver = s7_device(TAGS, 1)
    with pytest.raises(DeviceUnavailable) as caught:
        driver.connect()
    assert caught.value.reason == "unknown_host"
    assert caught.value.detail.startswith(f"the name '127.0.0.1' {said}")


@pytest.mark.parametrize(
    ("answer", "reason", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "protocol", "does not speak S7 (ISO on TCP)"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "protocol", "does not speak S7 (ISO on TCP)"),
        (
            b"\x03\0\0\x0b\x06\x80\0\x01\0\x02\x01",
            "refused",
            "are rack and slot, or the TSAPs, right",
        ),
        (b"", "closed", "are rack and slot, or the TSAPs, right"),
    ],
)
def test_a_peer_that_is_no_s7_cpu_is_told_from_one_at_another_slot(
    answer: bytes, reason: str, said: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            link, _ = server.accept()
            with link:
                link.recv(100)
                link.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        driver = s7_device(TAGS, server.getsockname()[1])
        with pytest.raises(DeviceUnavailable) as caught:
            driver.connect()
        thread.join()
    assert caught.value.reason == reason
    assert said in caught.value.detail
    assert ("rack" in caught.value.detail) == (reason != "protocol")
