"""How often somebody may try: a bucket of tries for each, refilled at a steady rate."""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MAX_KEYS = 1024
"""Who is remembered; of more, those that tried longest ago are forgotten."""


class RateLimit:
    """At most ``per_minute`` tries a minute for each key, as many of them at once."""

    def __init__(
        self,
        per_minute: int,
        *,
        max_keys: int = MAX_KEYS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.per_minute = per_minute
        self._most = float(per_minute)
        self._per_s = per_minute / 60.0
        self._max_keys = max_keys
        self._clock = clock
        self._lock = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Key -> tries left at a time of the clock."""

    def __len__(self) -> int:
        return len(self._left)

    def wait_s(self, key: str) -> int:
        """Whole seconds until the key may try again; 0: now. Takes nothing."""
        with self._lock:
            left = self._now(key)
        return 0 if left >= 1.0 else math.ceil((1.0 - left) / self._per_s)

    def take(self, key: str) -> int:
        """Count a try: 0 where it is allowed, else whole seconds until the next one is."""
        with self._lock:
            left = self._now(key)
            if left < 1.0:
                return math.ceil((1.0 - left) / self._per_s)
            self._left[key] = left - 1.0, self._clock()
            self._left.move_to_end(key)
            while len(self._left) > self._max_keys:
                self._left.popitem(last=False)
            return 0

    def _now(self, key: str) -> float:
        left, at = self._left.get(key, (self._most, 0.0))
        return min(self._most, left + (self._clock() - at) * self._per_s)


def key_of(peer: str) -> str:
    """Whose tries count together: an IPv4 address, or the /64 network of an IPv6 one."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
