"""What to do about a device that does not answer, or refuses what its map asks for."""

from __future__ import annotations

PUT_GET = (
    "TIA Portal: CPU properties > Protection & Security > Connection mechanisms: "
    "permit access with PUT/GET; then load it"
)
NOT_OPTIMIZED = (
    "is there such a block, and is it long enough? S7-1200/1500: switch off 'Optimized block "
    "access' in its properties, compile and load it"
)
_MANUAL = "compare the map with the device's manual: addresses count from 0 (holding:0 is 40001)"
_CARD = "the name of the card in the map: nilsdev or NI MAX show it; is another program using it?"

_ADVICE = {
    "unknown_host": "is the name right? try: getent hosts NAME; or write the IP address",
    "refused": "the PC is there, but nothing listens: is the service switched on in the device, "
    "and the port right?",
    "timeout": "is it on, its address right, the cable in? try ping; a firewall may drop the port",
    "unreachable": "no way to its network: ip addr; ip route; is the cable in?",
    "closed": "it hangs up: are all its connections taken by panels, tools or other programs?",
    "protocol": "is it the right kind of device at that address and port?",
    "no_permission": "may this user use the port? join the group dialout; the service: "
    "serial.conf.example",
    "no_port": "is the adapter plugged in? ls /dev/ttyUSB* /dev/ttyACM* /dev/serial/by-id",
    "port_busy": "another program has the port: fuser PORT",
    "port_settings": "can the adapter do this baud, parity and stop_bits? a pseudo-terminal "
    "(socat, an emulator) has none: parity: none",
    "no_runtime": "install NI-DAQmx, or name a gRPC server: drivers/nidaq/README.md",
    "unknown_device": _CARD,
    "reserved": _CARD,
    "device_lost": "is it plugged in and powered? look at: dmesg",
    "put_get_refused": PUT_GET,
    "no_such_object": NOT_OPTIMIZED,
    "address_out_of_range": NOT_OPTIMIZED,
    "access_denied": f"protected in the CPU. {NOT_OPTIMIZED}",
    "type": "the map's type does not fit what lies there",
    "illegal_address": _MANUAL,
    "illegal_function": f"the unit has no such table. {_MANUAL}",
    "illegal_value": "the unit allows fewer registers at once: lower max_registers",
    "gateway_no_path": "the converter cannot reach its line: its settings",
    "gateway_no_answer": "the converter asked, and the unit was silent: its number, speed, wiring",
    "device_failure": "the device reports a failure of its own: look at its display",
    "busy": "the device is busy: poll it less often",
}

_OF_DRIVER = {
    ("s7", "refused"): "port 102: is the address a PLC's, are rack and slot right (slot 1 for "
    "S7-1200/1500, 2 for S7-300)?",
    ("s7", "timeout"): "is the CPU on, its address right, the cable in? try ping; a firewall may "
    "drop port 102",
    ("s7", "protocol"): "are rack and slot right (slot 1 for S7-1200/1500, 2 for S7-300)?",
    ("modbus", "timeout"): "is it on, its address and unit right, the cable in? on a line: speed, "
    "parity, A and B",
    ("nidaq", "refused"): "does the NI gRPC Device Server run there, and listen on all addresses?",
}


REASONS = frozenset(_ADVICE)
"""Those that have words of their own."""


def advice(driver: str, reason: str) -> str:
    """What to do; the reason is the driver's short word."""
    found = _OF_DRIVER.get((driver, reason)) or _ADVICE.get(reason)
    return found or f"look it up in drivers/{driver}/README.md"
