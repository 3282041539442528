"""Requests, and what an answer must look like before its bytes are believed.

Only the four reading functions exist here: nothing in this driver can write to a device.
Source: Modbus Application Protocol V1.1b3, chapters 4.1 and 6.1 to 6.4; Modbus over Serial Line
V1.02, chapter 2.5.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from drivers.modbus.address import Address, TableName

FUNCTIONS: Final[dict[TableName, int]] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
MAX_REGISTERS: Final = 125
MAX_BITS: Final = 2000
MBAP: Final = 7
"""Bytes before the function code in a TCP frame, the unit included."""
MAX_TCP_FRAME: Final = 260
EXCEPTION: Final = 0x80
"""Added to the function code by an answer that refuses."""

EXCEPTIONS: Final[dict[int, str]] = {
    1: "illegal_function",
    2: "illegal_address",
    3: "illegal_value",
    4: "device_failure",
    6: "busy",
}
PASSING: Final = frozenset({5, 6})
"""Refusals that say nothing about the place: the unit has no time for us now."""

GATEWAY_EXCEPTIONS: Final[dict[int, str]] = {10: "gateway_no_path", 11: "gateway_no_answer"}
"""Answers of a gateway in place of a unit that it cannot reach."""


class Odd(Exception):
    """The bytes are no answer to what was asked: believe nothing more on this connection."""


class Refusal(NamedTuple):
    """A Modbus exception: the unit answered, and the answer is no."""

    code: int

    @property
    def reason(self) -> str:
        """The short word for it."""
        known = EXCEPTIONS.get(self.code) or GATEWAY_EXCEPTIONS.get(self.code)
        return known or f"exception_{self.code}"


class Shape(NamedTuple):
    """All that tells one serial answer from another: function and byte count."""

    function: int
    size: int


class Read(NamedTuple):
    """One request: ``length`` registers or bits from ``address`` (counted from 0)."""

    unit: int
    table: TableName
    address: int
    length: int

    @property
    def function(self) -> int:
        """The function code."""
        return FUNCTIONS[self.table]

    @property
    def size(self) -> int:
        """Bytes of data in the answer."""
        return self.length * 2 if self.function > 2 else (self.length + 7) // 8

    @property
    def shape(self) -> Shape:
        """What its answer looks like where there is no transaction number."""
        return Shape(self.function, self.size)

    @property
    def pdu(self) -> bytes:
        """Function code and arguments."""
        return struct.pack(">BHH", self.function, self.address, self.length)

    def others(self) -> Iterator[Read]:
        """The same place in other lengths: inside what was asked first, then longer."""
        step, most = (1, MAX_REGISTERS) if self.function > 2 else (8, MAX_BITS)
        room = min(most, 65536 - self.address)
        for count in (*range(step, self.length, step), *range(self.length + step, room + 1, step)):
            yield self._replace(length=count)

    def __str__(self) -> str:
        last = self.address + self.length - 1
        more = f"..{last}" if self.length > 1 else ""
        return f"{Address(self.table, self.address)}{more}"


def answer(read: Read, pdu: bytes) -> bytes | Refusal:
    """The data of an answer; Odd where it does not fit the request in every particular."""
    if pdu[0] == read.function | EXCEPTION and len(pdu) == 2:
        return Refusal(pdu[1])
    if pdu[0] != read.function:
        raise Odd(f"function {pdu[0]} instead of {read.function}")
    if len(pdu) != 2 + read.size or pdu[1] != read.size:
        raise Odd(f"{len(pdu) - 2} bytes of data, counted as {pdu[1]}, instead of {read.size}")
    return pdu[2:]


def tcp_length(read: Read, transaction: int, head: bytes) -> int:
    """Length of the whole frame that begins with these 8 bytes or more; Odd if not the answer."""
    number, protocol, length, unit = struct.unpack_from(">HHHB", head)
    if protocol != 0 or not 3 <= length <= MAX_TCP_FRAME - 6:
        raise Odd(f"no Modbus/TCP frame: {head[:8].hex(' ')}")
    if number != transaction:
        raise Odd(f"transaction {number} instead of {transaction}")
    if unit != read.unit:
        raise Odd(f"the answer comes from unit {unit} instead of {read.unit}")
    return 6 + int(length)


def rtu_length(buffer: bytes) -> int:
    """Length of the RTU frame that begins here, 0 if too short to tell; Odd if it is none."""
    if len(buffer) < 3:
        return 0
    function = buffer[1]
    if function in (1, 2, 3, 4):
        return 5 + buffer[2]
    if function & EXCEPTION:
        return 5
    raise Odd(f"no answer to a read: {bytes(buffer[:8]).hex(' ')}")
