"""Transitions as they were kept, once more as what they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from gateway.alarms.model import Severity, State, Transition

MOST = 5_000
"""Transitions that are sent again after a kill, the newest."""

_FIELDS = tuple(field.name for field in fields(Transition))


def transition_of(document: Mapping[str, Any]) -> Transition:
    """From what `gateway.alarms.database.document_of` made of it; ValueError, KeyError."""
    values = {name: document[name] for name in _FIELDS}
    values["severity"] = Severity(values["severity"])
    values["from_state"] = State(values["from_state"])
    values["state"] = State(values["state"])
    notify = values["notify"]
    values["notify"] = None if notify is None else tuple(notify)
    return Transition(**values)
