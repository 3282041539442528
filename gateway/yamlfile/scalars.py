"""What an unquoted YAML scalar means; where YAML 1.1 and 1.2 differ it is a fault, not a guess."""

from __future__ import annotations

import re
from typing import Any

_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,39})|0x[0-9a-fA-F]{1,32}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_OCTAL = re.compile(r"[-+]?0[0-9_]+|0o[0-7]+|[-+]?0b[01_]+")
_SIXTIES = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_UNDERSCORES = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?")
_WORDS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_TRAP_WORDS = {
    form: truth
    for word, truth in (("yes", "true"), ("on", "true"), ("no", "false"), ("off", "false"))
    for form in (word, word.title(), word.upper())
}


class Ambiguous(ValueError):
    """What YAML readers differ on, and what to write for each meaning."""

    def __init__(self, text: str, why: str, plain: str) -> None:
        self.for_text = f'{why}; quote it: "{text}"'
        self.for_others = f"{why}; write {plain}"
        super().__init__(f'{self.for_others}, or quote it: "{text}"')


def is_text(text: str) -> bool:
    """Whether an unquoted scalar is text to every reader."""
    try:
        return isinstance(plain_scalar(text), str)
    except ValueError:
        return False


def plain_scalar(text: str) -> Any:
    """The value of an unquoted scalar; ValueError where YAML 1.1 and 1.2 read it differently."""
    if text in _WORDS:
        return _WORDS[text]
    if text in _TRAP_WORDS:
        truth = _TRAP_WORDS[text]
        why = f'"{text}" is {truth} to some YAML readers and text to others'
        raise Ambiguous(text, why, truth)
    if text[0] not in "0123456789+-.":
        return text
    if _INT.fullmatch(text):
        return int(text, 0)
    if _OCTAL.fullmatch(text):
        why = f"{text} is an octal or binary number to some YAML readers"
        raise Ambiguous(text, why, "a decimal number without leading zeros")
    if _SIXTIES.fullmatch(text):
        raise Ambiguous(
            text, f"{text} is a number in base 60 to some YAML readers", "a plain number"
        )
    if _FLOAT.fullmatch(text):
        number = float(text)
        if number in (float("inf"), float("-inf")) or text.lstrip("+-").isdigit():
            raise ValueError(f"{text[:40]} is too large a number")
        return number
    special = _SPECIAL_FLOAT.fullmatch(text)
    if special:
        return float((special.group(1) or "") + text[-3:])
    if "_" in text and _UNDERSCORES.fullmatch(text):
        clean = text.replace("_", "")
        raise Ambiguous(text, f"{text} is text to some YAML readers", clean)
    return text
