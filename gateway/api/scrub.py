"""A configuration as others may see it: what is or may be a secret is left out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from gateway.logs import without_secrets

HIDDEN = "***"

_SECRET_KEY = re.compile(r"token|secret|password|passwd|credential|api_?key|authorization", re.I)
_NAMES_A_PLACE = ("_file", "_credential")
"""Keys with such an end say where a secret is, and not what it is."""

_ALL_HIDDEN = frozenset({"headers", "env"})
"""Maps whose values are hidden whatever their keys are called."""


def scrubbed(value: Any, key: str = "") -> Any:
    """The same document without secrets: by the names of keys, in addresses, and known ones."""
    if isinstance(value, Mapping):
        if key in _ALL_HIDDEN:
            return dict.fromkeys(value, HIDDEN)
        return {name: scrubbed(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrubbed(item, key) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if _SECRET_KEY.search(key) and not key.endswith(_NAMES_A_PLACE):
        return HIDDEN
    if isinstance(value, str):
        return without_secrets(_without_key(value))
    return value


def _without_key(text: str) -> str:
    """An address without user, password and query; a web hook's path may be its key, so no path."""
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return HIDDEN
    host = parts.netloc.rpartition("@")
    netloc = f"{HIDDEN}@{host[2]}" if host[1] else host[2]
    path = f"/{HIDDEN}" if parts.path.strip("/") else parts.path
    return urlunsplit((parts.scheme, netloc, path, HIDDEN if parts.query else "", ""))
