"""One S7 connection: whole requests built once, answers checked before a byte is believed.

ISO-on-TCP (RFC 1006), COTP class 0 (ISO 8073) and the S7 protocol; the handshakes come from
python-snap7, the reads are our own because a value is GOOD only if its own item says so.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import socket
import struct
import time
from collections.abc import Sequence
from typing import Literal, NamedTuple, NoReturn, TypeAlias

from snap7.connection import ISOTCPConnection
from snap7.datatypes import S7Area, S7DataTypes, S7WordLen
from snap7.error import S7Error
from snap7.s7protocol import S7Protocol

from drivers.s7.address import Space
from gateway.blocks import Block, Refused
from gateway.errors import DeviceUnavailable

# what it would log is raised, too
logging.getLogger("snap7").setLevel(logging.CRITICAL)

CpuState: TypeAlias = Literal["run", "stop", "unknown"]

_AREAS = {
    "DB": S7Area.DB, "M": S7Area.MK, "I": S7Area.PE, "Q": S7Area.PA, "T": S7Area.TM, "C": S7Area.CT,
}  # fmt: skip
_REFUSALS = {
    0x03: Refused("access_denied"),
    0x05: Refused("address_out_of_range"),
    0x06: Refused("type"),
    0x07: Refused("type"),
    0x0A: Refused("no_such_object", all_of_space=True),
}
"""Return codes of an item that are not 0xFF, success."""

NOT_PERMITTED = 0x8104
"""Header error of a CPU that permits no PUT/GET access (or none to an optimized block)."""

_HEAD = 21
"""Bytes before the first item of an answer: TPKT 4, COTP 3, S7 header 12, function, count."""
_HEADER = struct.Struct(">BBHBBBBBHHHHH")
_FRAME = struct.Struct(">BBHBBB")
_SEQUENCE = struct.Struct(">H")
_SEQUENCE_AT = 11
_ITEM = struct.Struct(">BBH")
_LONGEST_FRAME = 4096
_RIGHT_PLACE = "are rack and slot, or the TSAPs, right?"
_UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}


class Request(NamedTuple):
    """A read of some blocks: the frame as it is sent, but for its sequence number."""

    frame: bytearray
    sizes: tuple[int, ...]


class RequestRefused(NamedTuple):
    """The CPU's answer to a request as a whole: no, with the error of its header."""

    code: int


def items_limit(pdu: int) -> int:
    """Most blocks in one request: 20, and the request must fit in a PDU itself."""
    return min(20, (pdu - 12) // 12)


def build(blocks: Sequence[Block]) -> Request:
    """The frame that asks for these blocks."""
    items = [_item(b.space, b.start, b.size) for b in blocks]
    parameters = bytes((0x04, len(items))) + b"".join(items)
    header = struct.pack(">BBHHHH", 0x32, 1, 0, 0, len(parameters), 0)
    return Request(_framed(header + parameters), tuple(b.size for b in blocks))


def _item(space: Space, start: int, size: int) -> bytes:
    area = _AREAS[space.area]
    if space.area in ("T", "C"):
        length = S7WordLen.TIMER if space.area == "T" else S7WordLen.COUNTER
        start, size = start // 2, size // 2
    else:
        length = S7WordLen.BYTE
    return S7DataTypes.encode_address(area, space.db, start, length, size)


_SEQUENCES = itertools.count(1)
"""Of all connections: what a bridge kept of an earlier one matches no request of the next."""


def _framed(pdu: bytes) -> bytearray:
    return bytearray(struct.pack(">BBHBBB", 3, 0, len(pdu) + 7, 2, 0xF0, 0x80) + pdu)


class Connection(ISOTCPConnection):
    """A connection to one CPU. Any doubt about an answer closes it: later ones could be shifted.

    Every wait, and every answer as a whole, is bounded by ``timeout_s``.
    """

    def __init__(
        self, host: str, port: int, tsaps: tuple[int, int], timeout_s: float, pdu: int
    ) -> None:
        super().__init__(host, port, *tsaps)
        self._timeout_s = timeout_s
        self._deadline = 0.0
        self._protocol = S7Protocol()
        self._sequence = 0
        self._buffer = bytearray(_LONGEST_FRAME)
        self._view = memoryview(self._buffer)
        self._asked = pdu
        self.pdu = 0
        """Length of the largest PDU, in bytes, as negotiated."""
        self._state_frame = _framed(self._protocol.build_read_szl_request(0x0424, 0))

    # -- life cycle ---------------------------------------------------------------------------

    def open(self) -> None:
        """Connect and agree on the PDU length, all within ``timeout_s``.

        Raises:
            DeviceUnavailable: unknown_host, refused, timeout, unreachable, closed or protocol.
        """
        self.close()
        self.pdu = 0
        self._deadline = time.monotonic() + self._timeout_s
        try:
            self._tcp_connect()
            try:
                self._iso_connect()
            except (S7Error, struct.error) as error:
                self._fail(
                    "protocol", f"what answers there does not speak S7 (ISO on TCP): {error}"
                )
            self._negotiate()
        except DeviceUnavailable:
            self.close()
            raise
        except OSError as error:
            self._fail_os(error)
        except (S7Error, struct.error) as error:
            self._fail("protocol", f"{error} ({_RIGHT_PLACE})")

    def close(self) -> None:
        """Drop the connection; idempotent, never raises."""
        gone, self.socket = self.socket, None
        if gone is not None:
            with contextlib.suppress(OSError):
                gone.close()

    def interrupt(self) -> None:
        """Free a call that waits in another thread; never raises."""
        waiting = self.socket
        if waiting is not None:
            with contextlib.suppress(OSError):
                waiting.shutdown(socket.SHUT_RDWR)

    def _tcp_connect(self) -> None:
        fault = OSError(f"no address for {self.host}")
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            why = ": no name server answers" if error.errno == socket.EAI_AGAIN else ""
            message = f"the name '{self.host}' is not known{why}"
            raise DeviceUnavailable("unknown_host", message) from error
        for family, kind, number, _, where in found:
            self.socket = socket.socket(family, kind, number)
            try:
                self.socket.settimeout(self._left())
                self.socket.connect(where)
                break
            except OSError as error:
                fault = error
                self.close()
        else:
            raise fault
        link = self._link()
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def _parse_cotp_cc(self, data: bytes) -> None:
        if len(data) > 1 and data[1] & 0xF0 == self.COTP_DR:
            self._fail("refused", f"the CPU refuses the connection ({_RIGHT_PLACE})")
        super()._parse_cotp_cc(data)

    def _recv_exact(self, size: int) -> bytes:
        """As the library's, but the deadline holds for all of the handshake."""
        if size > _LONGEST_FRAME:
            self._fail("protocol", f"a frame of {size} bytes")
        data = b""
        while len(data) < size:
            self._link().settimeout(self._left())
            piece = self._link().recv(size - len(data))
            if not piece:
                self._fail_closed()
            data += piece
        return data

    def _negotiate(self) -> None:
        request = _framed(self._protocol.build_setup_communication_request(1, 1, self._asked))
        self._link().settimeout(self._left())
        pdu = self._exchange(request, self._deadline)
        answer = self._protocol.parse_response(pdu)["parameters"] or {}
        length = answer.get("pdu_length", 0)
        if answer.get("function_code") != 0xF0 or length < 64:
            self._fail("protocol", f"a PDU length of {length} bytes was answered")
        self._link().settimeout(self._timeout_s)
        self.pdu = min(length, self._asked)

    # -- one request --------------------------------------------------------------------------

    def read(self, request: Request) -> list[bytes | Refused] | RequestRefused:
        """The bytes of each block, or the CPU's refusal of that block or of everything.

        Raises:
            DeviceUnavailable: timeout, closed, or protocol where an answer is in any way odd.
        """
        length = self._send_and_receive(request.frame)
        buffer = self._buffer
        _, _, _, _, _, _, protocol, kind, _, _, parameters, data, error = _HEADER.unpack_from(
            buffer
        )
        if protocol != 0x32 or kind not in (2, 3) or 19 + parameters + data != length:
            self._fail("protocol", f"not the answer to a read: {self._hex()}")
        if error:
            return RequestRefused(error)
        sizes = request.sizes
        if parameters != 2 or buffer[19] != 0x04 or buffer[20] != len(sizes):
            self._fail("protocol", f"the answer to another request: {self._hex()}")
        answers: list[bytes | Refused] = []
        at = _HEAD
        for size in sizes:
            if at + 4 > length:
                self._fail("protocol", "the answer is cut short")
            code, unit, count = _ITEM.unpack_from(buffer, at)
            at += 4
            if code != 0xFF:
                answers.append(_REFUSALS.get(code) or Refused(f"code_0x{code:02x}"))
                continue
            # lengths count bits for bit, byte and integer strings, else bytes
            if count != (8 * size if unit in (3, 4, 5) else size) or at + size > length:
                self._fail("protocol", f"an item of another length: {self._hex()}")
            answers.append(bytes(self._view[at : at + size]))
            at += size + (size & 1)
        if at != length and (at != length + 1 or not sizes[-1] & 1):
            self._fail("protocol", "the answer has another length than its items")
        return answers

    def cpu_state(self) -> CpuState:
        """RUN or STOP from system state list 0x0424; unknown where the CPU does not tell.

        Raises:
            DeviceUnavailable: timeout or closed, or protocol where the answer is not to this.
        """
        pdu = self._exchange(self._state_frame)
        try:
            answer = self._protocol.parse_response(pdu)
            self._protocol.check_userdata_response(answer, 4, 1)
            data = self._protocol.parse_read_szl_response(answer)["data"]
        except (S7Error, struct.error):
            return "unknown"
        # length and number of the records, then event id (2), 0xFF, old and new state
        state = data[7] & 0x0F if len(data) > 7 else 0
        if state == 0:
            return "unknown"
        return "run" if state in (0x8, 0x9, 0xB, 0xC) else "stop"

    def _exchange(self, frame: bytearray, deadline: float | None = None) -> bytes:
        """Send a frame; the S7 PDU that answers it."""
        return bytes(self._view[7 : self._send_and_receive(frame, deadline)])

    def _send_and_receive(self, frame: bytearray, deadline: float | None = None) -> int:
        """Send a frame; the length of the answering one, which then lies in the buffer."""
        sequence = self._sequence = next(_SEQUENCES) & 0xFFFF
        _SEQUENCE.pack_into(frame, _SEQUENCE_AT, sequence)
        self._deadline = deadline or time.monotonic() + self._timeout_s
        buffer = self._buffer
        try:
            link = self._link()
            link.sendall(frame)
            got = link.recv_into(self._view)
            if got == 0:
                self._fail_closed()
            if got < 7 or got != buffer[2] << 8 | buffer[3] or not buffer[6] & 0x80:
                got = self._receive_rest(link, got)
        except OSError as error:
            self._fail_os(error)
        if buffer[0] != 3 or buffer[4] != 2 or buffer[5] != 0xF0 or got < 19:
            self._fail("protocol", f"not an S7 frame: {self._hex()}")
        if _SEQUENCE.unpack_from(buffer, _SEQUENCE_AT)[0] != sequence:
            self._fail("protocol", "an answer came that belongs to another request")
        return got

    def _receive_rest(self, link: socket.socket, got: int) -> int:
        """The rest of an answer that comes in pieces, of TCP or of COTP; its length joined."""
        buffer, view = self._buffer, self._view
        begin, joined = 0, 7
        while True:
            got = self._fill(link, got, begin + 7)
            version, _, length, header, kind, last = _FRAME.unpack_from(buffer, begin)
            if version != 3 or length < 7 or header != 2 or kind != 0xF0:
                self._fail("protocol", f"not an S7 frame: {self._hex()}")
            end = begin + length
            got = self._fill(link, got, end)
            piece = bytes(view[begin + 7 : end])
            view[joined : joined + len(piece)] = piece
            joined, begin = joined + len(piece), end
            if last & 0x80:
                break
        if got != end:
            self._fail("protocol", "more than one answer came")
        link.settimeout(self._timeout_s)
        return joined

    def _fill(self, link: socket.socket, got: int, wanted: int) -> int:
        if wanted > len(self._buffer):
            self._fail("protocol", "an answer longer than any PDU")
        while got < wanted:
            link.settimeout(self._left())
            piece = link.recv_into(self._view[got:])
            if not piece:
                self._fail_closed()
            got += piece
        return got

    # -- faults -------------------------------------------------------------------------------

    def _link(self) -> socket.socket:
        if self.socket is None:
            raise DeviceUnavailable("closed", "not connected")
        return self.socket

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time-out is over")
        return left

    def _hex(self) -> str:
        return self._view[:32].hex(" ")

    def _fail(self, reason: str, detail: str) -> NoReturn:
        self.close()
        raise DeviceUnavailable(reason, f"{self.host}:{self.port}: {detail}")

    def _fail_closed(self, how: str = "by the CPU") -> NoReturn:
        if not self.pdu:
            how += f", while connecting ({_RIGHT_PLACE} Has the CPU a connection left for us?)"
        self._fail("closed", how)

    def _fail_os(self, error: OSError) -> NoReturn:
        if isinstance(error, TimeoutError):
            self._fail("timeout", f"no answer within {self._timeout_s:g} s")
        if isinstance(error, ConnectionRefusedError):
            self._fail("refused", "nothing listens there")
        what = error.strerror or str(error)
        if error.errno in _UNREACHABLE:
            self._fail("unreachable", what)
        self._fail_closed(what)
