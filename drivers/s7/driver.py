"""The S7 driver: tags of data blocks, flags, inputs, outputs, timers and counters, merged."""

from __future__ import annotations

import re
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from drivers.s7 import connection, types
from drivers.s7 import probe as probing
from drivers.s7.address import Address, Space, relative
from drivers.s7.address import parse as parse_address
from drivers.s7.connection import Connection, CpuState, Request, RequestRefused
from gateway.blocks import Block, Item, Limits, Refused
from gateway.driver import (
    DeviceConfig,
    DeviceMap,
    Driver,
    Endpoint,
    HostName,
    Probe,
    Simulation,
    Tag,
)
from gateway.errors import DeviceUnavailable
from gateway.merged import MergedDriver
from gateway.model import Mark, Quality

USUAL_PDU = 480
"""Planned with before a connection has said more (S7-1200 and S7-300 mostly grant 240)."""

STATE_EVERY_S = 1.0
"""How often the CPU is asked whether it runs."""

STATE_AGAIN_S = 3600.0
"""When a peer that left this question unanswered is asked again, on its next connection."""

STOPPED = Mark(Quality.UNCERTAIN, "cpu_stop")
_KINDS = {"pg": 1, "op": 2, "basic": 3}
_TSAP = re.compile(r"(?:0x)?([0-9a-f]{1,2})\.?([0-9a-f]{2})", re.ASCII | re.IGNORECASE)
_NO_PUT_GET = Refused("put_get_refused", all_of_space=True)


def _tsap(text: str) -> int:
    found = _TSAP.fullmatch(text)
    if not found:
        raise ValueError("expected four hexadecimal digits in quotes, e.g. '03.01'")
    return int(found[1] + found[2], 16)


class S7Config(DeviceConfig):
    """One S7 CPU, or what speaks like one (LOGO!, S7-200 SMART)."""

    host: HostName = Field(description="Name or IP address of the CPU or its CP.")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(102, description="TCP port.")
    rack: Annotated[int, Field(ge=0, le=7)] = Field(0, description="Rack of the CPU.")
    slot: Annotated[int, Field(ge=0, le=31)] = Field(
        1, description="Slot of the CPU: 1 for S7-1200 and S7-1500, 2 for S7-300; S7-400 varies."
    )
    timeout_s: Annotated[float, Field(gt=0, le=60)] = Field(
        2.0, description="Longest wait for a connection or one answer, in seconds."
    )
    connection: Literal["basic", "op", "pg"] = Field(
        "basic", description="Kind of connection to take; basic spares those of PGs and panels."
    )
    local_tsap: str | None = Field(
        None, description="Own TSAP in quotes, e.g. '03.00', where rack and slot do not do."
    )
    remote_tsap: str | None = Field(
        None, description="The CPU's TSAP in quotes, e.g. '02.00' (LOGO!), '03.01' (S7-200 SMART)."
    )
    pdu: Annotated[int, Field(ge=112, le=960)] = Field(
        960, description="PDU length to ask for, in bytes; the CPU may grant less."
    )
    max_gap: Annotated[int, Field(ge=0, le=900)] = Field(
        32, description="Longest gap between tags, in bytes, that is read along to save an item."
    )

    @field_validator("local_tsap", "remote_tsap", mode="before")
    @classmethod
    def _check_tsap(cls, value: object) -> object:
        if value is not None:
            _tsap(value if isinstance(value, str) else "")
        return value

    @model_validator(mode="after")
    def _check_pair(self) -> S7Config:
        if (self.local_tsap is None) != (self.remote_tsap is None):
            raise ValueError("local_tsap and remote_tsap are given together or not at all")
        return self

    @property
    def tsaps(self) -> tuple[int, int]:
        """Own TSAP and that of the CPU."""
        if self.local_tsap is not None and self.remote_tsap is not None:
            return _tsap(self.local_tsap), _tsap(self.remote_tsap)
        return 0x0100, _KINDS[self.connection] << 8 | self.rack << 5 | self.slot


class S7Driver(MergedDriver):
    """Reads one S7 CPU over one connection."""

    config_class: ClassVar[type[DeviceConfig]] = S7Config
    config: S7Config

    def __init__(
        self, name: str, config: DeviceConfig, device_map: DeviceMap, bus: Any = None
    ) -> None:
        self._pdu = 0
        self._link: Connection | None = None
        self._endpoint: Endpoint | None = None
        self._cpu: CpuState = "unknown"
        self._ask_state_at = 0.0
        self._state_failures = 0
        self._state_again_at = 0.0
        self._hint: str | None = None
        self.type_codes = array("B")
        """What each value is (see `types.code`), in the order of parsing; for the simulator."""
        super().__init__(name, config, device_map, bus)

    # -- planning -----------------------------------------------------------------------------

    def parse(self, tag: Tag) -> list[Item]:
        """The items of a tag; ValueError with the nearest spelling."""
        kind, count = types.parse(tag.spec.type)
        if tag.base is not None:
            where = relative(tag.base, tag.address, bit=kind.size == 0)
        else:
            where = parse_address(tag.address)
        places = types.place(where, kind, count)
        self.type_codes.extend([types.code(kind, wire) for _, _, wire in places])
        return [Item(where.space, start, size, wire, kind.unit) for start, size, wire in places]

    def limits(self, space: Any) -> Limits:
        """From the negotiated PDU: 14 bytes go to its head and function, 4 to each block's head."""
        pdu = self._pdu or min(self.config.pdu, USUAL_PDU)
        block = pdu - 18
        if space.area in ("T", "C"):
            block -= block & 1
        return Limits(block, self.config.max_gap, connection.items_limit(pdu), pdu - 14)

    def prepare(self, blocks: tuple[Block, ...]) -> tuple[Request, tuple[Block, ...]]:
        """The frame, and its blocks in case they must be asked for one by one."""
        return connection.build(blocks), blocks

    def describe(self, blocks: tuple[Block, ...]) -> str:
        """E.g. ``DB4.DBB0..59, MB10..11``."""
        return ", ".join(_span(b) for b in blocks)

    # -- the connection -----------------------------------------------------------------------

    def connect(self) -> None:
        """Connect and negotiate; requests are cut again if the PDU length is another."""
        self.close()
        config = self.config
        at = self._endpoint or Endpoint(config.host, config.port)
        link = Connection(at.host, at.port, config.tsaps, config.timeout_s, config.pdu)
        self._link = link  # before opening it, so that `interrupt` reaches it
        link.open()
        self._cpu, self._ask_state_at, self._hint = "unknown", 0.0, None
        if self._state_failures >= 2 and time.monotonic() >= self._state_again_at:
            self._state_failures = 1
        if link.pdu != self._pdu:
            self._pdu = link.pdu
            self.forget_plan()

    def close(self) -> None:
        """Drop the connection."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def interrupt(self) -> None:
        """Free a waiting call: its socket is shut down."""
        if (link := self._link) is not None:
            link.interrupt()

    def redirect(self, endpoint: Endpoint) -> None:
        """Talk to this endpoint instead of ``host`` and ``port``."""
        self._endpoint = endpoint

    def _connected(self) -> Connection:
        if self._link is None:
            raise DeviceUnavailable("closed", "not connected")
        return self._link

    # -- reading ------------------------------------------------------------------------------

    def exchange(self, prepared: tuple[Request, tuple[Block, ...]]) -> Sequence[bytes | Refused]:
        """Send one request; a refusal of all of it is traced to its blocks."""
        request, blocks = prepared
        link = self._connected()
        answer = link.read(request)
        if not isinstance(answer, RequestRefused):
            return answer
        if answer.code == connection.NOT_PERMITTED:
            self._hint = "reads are refused (0x8104): permit PUT/GET access in the CPU's settings"
            return [_NO_PUT_GET] * len(blocks)
        if len(blocks) == 1:
            return [Refused(f"code_0x{answer.code:04x}")]
        return [self.exchange(self.prepare((block,)))[0] for block in blocks]

    def row_mark(self) -> Mark | None:
        """UNCERTAIN while the CPU is in STOP; it is asked at most once a second."""
        now = time.monotonic()
        if now >= self._ask_state_at and self._state_failures < 2:
            self._ask_state(now)
        return STOPPED if self._cpu == "stop" else None

    def _ask_state(self, now: float) -> None:
        # A peer may never answer this, or hang up. If it does so twice, each time on a fresh
        # connection, it is left alone for an hour: its values are worth more than its state.
        link = self._connected()
        self._state_failures += 1
        self._state_again_at = now + STATE_AGAIN_S
        self._cpu = link.cpu_state()
        self._state_failures = 0
        self._ask_state_at = now + STATE_EVERY_S if self._cpu != "unknown" else float("inf")

    def values(self) -> Iterator[tuple[Space, int, int, int]]:
        """(space, type code, first byte, size) of each value of all groups."""
        codes = iter(self.type_codes)
        for layout in (state.layout for state in self._states):
            for _, space, start, size in layout.spans(range(len(layout))):
                yield layout.spaces[space], next(codes), start, size

    # -- looking at it ------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """CPU state, negotiated PDU length in bytes, kind of connection, a hint where needed."""
        where = self._endpoint or Endpoint(self.config.host, self.config.port)
        facts: dict[str, Any] = {
            "endpoint": f"{where.host}:{where.port}",
            "cpu_state": self._cpu,
            "pdu_bytes": self._pdu or None,
            "connection": "tsap" if self.config.local_tsap else self.config.connection,
        }
        if self._hint:
            facts["hint"] = self._hint
        return facts

    def probe(self, address: str) -> Probe:
        """Read one address once, under every type that fits, with its neighbours."""
        where = parse_address(address)
        idle = self._link is None
        try:
            if idle:
                self.connect()
            return probing.probe(where, self._ask_one, self.limits(where.space).block)
        finally:
            if idle:
                self.close()

    def _ask_one(self, space: Space, start: int, size: int) -> bytes | Refused:
        return self.exchange(self.prepare((Block(space, start, size, ()),)))[0]

    @classmethod
    def simulate(
        cls, devices: Sequence[Driver], *, ports: Mapping[str, int] | None = None
    ) -> Simulation | None:
        """Serve the tags of these devices with moving values."""
        from drivers.s7.simulator import S7Simulation

        return S7Simulation([d for d in devices if isinstance(d, S7Driver)], ports or {})


def _span(block: Block) -> str:
    space: Space = block.space
    step = 2 if space.area in ("T", "C") else 1
    first, last = block.start // step, (block.start + block.size) // step - 1
    start = Address(space, "" if step == 2 else "B", first)
    return f"{start}..{last}" if last > first else str(start)
