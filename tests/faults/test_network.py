"""The network between the gateway and its servers and machines, in a namespace of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.faults.conftest import Proof
from tests.faults.gate import Gate
from tests.faults.network import Network, own_network
from tests.faults.results import size
from tests.faults.rig import passed
from tests.support import until


@pytest.fixture
def network() -> Iterator[Network]:
    with own_network() as network:
        yield network


FAULTS = {
    "packets dropped both ways": ("tcp dport {port} drop", "tcp sport {port} drop"),
    "answers lost": ("tcp sport {port} drop",),
    "reset (RST)": ("tcp dport {port} reject with tcp reset",),
    "rejected (ICMP)": ("tcp dport {port} reject",),
    "30 % of packets lost": ("tcp dport {port} numgen random mod 100 < 30 drop",),
    "256 kbit/s": ("tcp dport {port} limit rate over 32 kbytes/second drop",),
}
DISTURBS = {"30 % of packets lost", "256 kbit/s"}
"""The sink may stay good all the time."""
FAULT_S = size(8, 120)


@pytest.mark.timeout(size(150, 600))
def test_network_to_the_server(proof: Proof, network: Network) -> None:
    """Network between gateway and server."""
    rig = proof.rig(load_tags=500)
    assert rig.influx is not None
    gates = {name: Gate(rig.influx.url) for name in FAULTS}
    names = {name: f"sink_{i}" for i, name in enumerate(FAULTS)}
    for name, gate in gates.items():
        proof.cleanups.append(gate.close)
        rig.sinks[names[name]] = gate.url
    rig.write_config()
    rig.start()
    rig.run_for(20)
    for name, rules in FAULTS.items():
        for rule in rules:
            network.rule(rule.format(port=gates[name].port))
    ill = {name for name in FAULTS if name not in DISTURBS}
    until(
        lambda: all(rig.sink(names[name])["state"] != "good" for name in ill), 30, "sinks to be ill"
    )
    passed(FAULT_S)
    network.clear()
    for sink in names.values():
        rig.settled(90, sink)
    rig.stop()
    for name, sink in names.items():
        proof.holds(FAULT_S, "seconds", rig.verdict(sink), case=name)


@pytest.mark.timeout(size(120, 1200))
def test_cable_out(proof: Proof, network: Network) -> None:
    """Cable out: machines and server gone at once, in the middle of a request."""
    rig = proof.rig(device_timeout_s=1.0)
    rig.start()
    times = size(3, 40)
    for _ in range(times):
        rig.run_for(proof.chance.randrange(10, 40))
        network.down()
        rig.cuts_ns.append(time.time_ns())
        until(lambda: (rig.status() or {}).get("state") == "degraded", 20, "the loss to be seen")
        rig.backs_ns.append(time.time_ns())
        network.up()
        until(lambda: (rig.status() or {}).get("state") == "good", 90, "all to be back")
    rig.run_for(20)
    rig.settled(90)
    rig.stop()
    proof.holds(times, "times", rig.verdict(), rig.verdict("history"))
