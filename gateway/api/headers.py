"""The headers of a request, for those that decide by them: each once, or not at all."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.api.problems import Problem


class RequestHeaders:
    """Headers by name."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = list(raw)

    def one(self, name: str) -> str:
        """The header's value, empty where it is absent; refused where it comes twice."""
        key = name.encode("ascii")
        found = [value for k, value in self._raw if k == key]
        if len(found) > 1:
            raise Problem(400, f"the header '{name}' comes {len(found)} times", "once")
        return found[0].decode("latin-1").strip() if found else ""

    def cookie(self, name: str) -> str:
        """A cookie's value, empty where it is absent; refused where it comes with two values."""
        found = set()
        for part in self.one("cookie").split(";"):
            key, equals, value = part.strip().partition("=")
            if equals and key == name:
                found.add(value.strip('"'))
        if len(found) > 1:
            raise Problem(400, f"the cookie '{name}' comes {len(found)} times", "once")
        return found.pop() if found else ""
