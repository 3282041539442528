"""The status of all gateways as one document, in the shape of a gateway's own."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from gateway.serve.feed import Known
from gateway.serve.names import fleet_name
from gateway.terminal import duration

GONE = "gateway_gone"
MAX_PROBLEMS = 1_000


def merged(gateways: Mapping[str, Known]) -> dict[str, Any]:
    """Devices, sinks, notifiers, losses, ingest and problems of all, each under its full name."""
    devices: dict[str, Any] = {}
    sinks: dict[str, Any] = {}
    notifiers: dict[str, Any] = {}
    losses: Counter[str] = Counter()
    problems: list[str] = []
    for name, known in sorted(gateways.items()):
        document, gone = known.document, known.gone_since_s
        if gone is not None:
            problems.append(f"gateway {name}: no sign of life; its values are not known")
        elif not document:
            problems.append(f"gateway {name}: its status cannot be read")
        else:
            problems += [f"gateway {name}: {words}" for words in document.get("problems", ())]
        for key, into in (("devices", devices), ("sinks", sinks), ("notifiers", notifiers)):
            into |= {fleet_name(name, n): each for n, each in (document.get(key) or {}).items()}
        losses.update(document.get("losses") or {})
        if gone is not None:
            since_s = round(time.monotonic() - gone, 3)
            for device in document.get("devices", {}):
                full = fleet_name(name, device)
                if devices[full].get("state") != "disabled":
                    lost = {"state": "lost", "reason": GONE, "since_s": since_s}
                    devices[full] = {**devices[full], **lost}
    if len(problems) > MAX_PROBLEMS:
        more = len(problems) - MAX_PROBLEMS
        problems = [*problems[:MAX_PROBLEMS], f"{more} more problems of gateways"]
    return {
        "problems": problems,
        "devices": devices,
        "sinks": sinks,
        "notifiers": notifiers,
        "losses": dict(losses),
        "gateways": {
            name: {
                "state": "lost" if k.gone_since_s is not None else k.document.get("state", "?"),
                "devices": len(k.document.get("devices", {})),
                "version": (k.document.get("gateway") or {}).get("version"),
            }
            for name, k in sorted(gateways.items())
        },
    }


def away(what: str, error: str, since_s: float) -> str:
    """A problem in words."""
    return f"{what}: {error}, for {duration(since_s)}"
