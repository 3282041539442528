"""TCP addresses as the configuration and the CLI write them: ``host:port``."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_IPV6 = re.compile(r"[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9]+)?")


class Address(NamedTuple):
    """A TCP address to listen on; ``host`` without the brackets of IPv6."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str) -> Address:
    """``host:port`` or ``[IPv6]:port``; ValueError says what was expected."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    if not colon or not (_IPV6 if bracketed else _NAME).fullmatch(bare):
        raise ValueError(f"'{text}' is no address; expected host:port, e.g. 127.0.0.1:8080")
    if bracketed or bare.replace(".", "").isdigit():
        try:
            ipaddress.ip_address(bare)
        except ValueError:
            raise ValueError(f"'{bare}' is no IP address; expected e.g. 127.0.0.1") from None
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError(f"'{port}' is no port; expected 1 to 65535")
    return Address(bare, int(port))
