"""Names in a Host header."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def name_in(host: str) -> str:
    """The name in a Host header: without port, brackets and final dot; empty where malformed."""
    try:
        parts = urlsplit(f"//{host}")
        if parts.username is not None or parts.path or parts.query or parts.fragment:
            return ""
        _ = parts.port
    except ValueError:
        return ""
    return (parts.hostname or "").rstrip(".").lower()


def is_ip(name: str) -> bool:
    """Whether it is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
