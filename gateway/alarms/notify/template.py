"""Words with ``{fields}`` of an alarm in them: nothing but these names is looked up."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping

_FIELD = re.compile(r"\{([^{}]*)\}")

TOPIC_FIELDS = frozenset({"gateway", "device", "alarm", "severity", "state"})
COMMAND_FIELDS = TOPIC_FIELDS | {
    "id",
    "from_state",
    "condition",
    "message",
    "value",
    "limit",
    "unit",
    "number",
    "time",
}


def check_template(text: str, known: Collection[str]) -> None:
    """ValueError where it has a field that there is not, or a brace that is none."""
    for name in _FIELD.findall(text):
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            fields = ", ".join(f"{{{each}}}" for each in sorted(known))
            expected = f"did you mean '{{{near[0]}}}'?" if near else f"there is {fields}"
            raise ValueError(f"unknown field '{{{name}}}'; {expected}")
    if set(_FIELD.sub("", text)) & set("{}"):
        raise ValueError(f"a brace without its other one in '{text}'; expected e.g. {{device}}")


def fill(text: str, fields: Mapping[str, str]) -> str:
    """The text with its fields; what is put in is not looked at once more."""
    return _FIELD.sub(lambda match: fields[match[1]], text)
