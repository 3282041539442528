"""Tells systemd how the service does: READY, STATUS, WATCHDOG (sd_notify(3)); nothing elsewhere."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(*lines: str) -> bool:
    """Send lines such as ``READY=1``; False where nobody asked for them."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out,
    ):
        out.sendto("\n".join(lines).encode(), address)
        return True
    return False


def watchdog_s() -> float | None:
    """How often systemd wants to hear from this process, in seconds; None: not at all."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not usec.isdigit() or pid != str(os.getpid()):
        return None
    return int(usec) / 1e6
