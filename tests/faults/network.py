"""A network of the test's own: faults in it reach nothing else."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import missing, need_program

_CLONE_NEWNET = 0x40000000


def _call(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)


class Network:
    """The namespace that this thread is in, and what is wrong with it."""

    def __init__(self) -> None:
        self.up()
        _call("nft", "add", "table", "inet", "faults")
        _call("nft", "add chain inet faults in { type filter hook input priority 0; }")

    def rule(self, words: str) -> None:
        """Add a rule for what comes in, in nft's words."""
        _call("nft", f"add rule inet faults in {words}")

    def clear(self) -> None:
        """All rules are gone."""
        _call("nft", "flush", "chain", "inet", "faults", "in")

    def down(self) -> None:
        """The cable is out."""
        _call("ip", "link", "set", "lo", "down")

    def up(self) -> None:
        """The cable is in."""
        _call("ip", "link", "set", "lo", "up")


@contextmanager
def own_network() -> Iterator[Network]:
    """This thread, and all that it starts meanwhile, in a new network namespace with loopback."""
    if os.geteuid():
        missing("a network namespace", "run as root")
    need_program("nft", "nftables")
    need_program("ip", "iproute2")
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(_CLONE_NEWNET):
            missing("a network namespace", os.strerror(ctypes.get_errno()))
        try:
            yield Network()
        finally:
            back = libc.setns(before, _CLONE_NEWNET)
            assert back == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(before)
