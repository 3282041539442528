"""From a section of a file to settings, with every fault in the user's words and at its place."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from gateway.analysis.settings import NAME
from gateway.config.meant import meant
from gateway.errors import Fault
from gateway.model import OWN_PREFIX
from gateway.yamlfile.document import Document, Items, Misread, Path_, Section

S = TypeVar("S", bound=BaseModel)

MAX_NAME = 200
"""Longest name, in characters."""

_EXPECTED = {
    "string_type": "text",
    "string_sub_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "`key: value` entries",
    "model_type": "`key: value` entries",
    "model_attributes_type": "`key: value` entries",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "path_type": "a path",
    "byte_size": "a size such as 500MB or 4GB",
    "byte_size_unit": "a size such as 500MB or 4GB",
    "finite_number": "a finite number",
    "none_required": "nothing",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
    "multiple_of": ("multiple_of", "a multiple of"),
}


def near_name(word: str, known: Iterable[str]) -> str | None:
    """The name that is meant most likely, whatever its capitals; None if none is like it."""
    lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), lower, 1, 0.6)
    return lower[near[0]] if near else None


def nearest(word: str, known: Iterable[str], what: str = "known") -> str:
    """``did you mean 'slot'?``, or what there is to choose from."""
    names = sorted(known)
    if near := near_name(word, names):
        return f"did you mean '{near}'?"
    if not names:
        return f"{what}: none"
    more = ", ..." if len(names) > 20 else ""
    return f"{what}: {', '.join(names[:20])}{more}"


def name_fault(name: str) -> str | None:
    """What is wrong with a name that ends up in labels and tables; None if nothing."""
    if name.isascii() and name.isprintable() and len(name) < 60 and name.strip() == name != "":
        return None
    if name == "":
        return "the name is empty"
    if any(unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs") for c in name):
        return f"the name '{name}' has a control character or a line break"
    if name != name.strip():
        return f"the name '{name}' begins or ends with a space"
    if len(name) > MAX_NAME:
        return f"the name is longer than {MAX_NAME} characters"
    return None


def table_fault(name: str) -> str | None:
    """What is wrong with the name of a table of the plant; None if nothing.

    Rows of the gateway's own tables are spooled apart and given up last.
    """
    if name.startswith(OWN_PREFIX):
        return (
            f"the table '{name}': names of the gateway's own tables begin with '{OWN_PREFIX}'; "
            "expected another `measurement`"
        )
    return None


def known_keys(cls: type[BaseModel]) -> dict[str, str]:
    """Key in the file -> name of the field."""
    return {f.alias or name: name for name, f in cls.model_fields.items()}


def outline(section: Section, *keys: str) -> dict[str, Any]:
    """The section with empty sections under ``keys``, which are judged entry by entry."""
    return {k: {} if k in keys and isinstance(v, dict) else v for k, v in section.items()}


def without(section: Section | None, key: str) -> dict[str, Any]:
    """The section without what is under a key; empty where there is none."""
    return {k: v for k, v in (section or {}).items() if k != key}


def validate(
    cls: type[S], section: Mapping[str, Any], document: Document, path: Path_
) -> tuple[S | None, list[Fault]]:
    """The settings of a section, or None and all its faults.

    Values are judged as in JSON: no conversion between kinds, but paths and sizes from text.
    """
    try:
        return cls.model_validate_json(json.dumps(_judged(section, document))), []
    except ValidationError as error:
        return None, explain(error, cls, document, path)


def _judged(value: Any, document: Document) -> Any:
    """The value, with what is wrong everywhere where its text is at fault already.

    So it comes out what was expected there, which tells how to mend the text.
    """
    if not document.bad or not isinstance(value, dict):
        return value
    judged = {key: _judged(inner, document) for key, inner in value.items()}
    for key, at in value.spots.items() if isinstance(value, Section) else ():
        if (at.value_line, at.value_col) in document.bad:
            judged[key] = []
    return judged


def repair(cls: type[S], section: Mapping[str, Any]) -> S | None:
    """Settings without the entries at fault, good only for looking for further faults."""
    try:
        return cls.model_validate_json(json.dumps(section))
    except ValidationError as error:
        wrong = {e["loc"][0] for e in error.errors(include_url=False) if e["loc"]}
    kept = {k: v for k, v in section.items() if k not in wrong}
    try:
        return cls.model_validate_json(json.dumps(kept))
    except ValidationError as error:
        left = error.errors(include_url=False)
    if any(e["type"] != "missing" or len(e["loc"]) != 1 for e in left):
        return None
    keys = known_keys(cls)
    values: dict[str, Any] = {}
    for key, value in kept.items():
        kind: Any = cls.model_fields[keys[key]].annotation
        values[keys[key]] = TypeAdapter(kind).validate_json(json.dumps(value))
    values |= {keys[str(e["loc"][0])]: None for e in left}
    return cls.model_construct(**values)


def explain(
    error: ValidationError, cls: type[BaseModel], document: Document, path: Path_
) -> list[Fault]:
    """What pydantic found as faults, those of the branches of a union as one."""
    at_path: dict[Path_, list[ErrorDetails]] = {}
    faults: list[Fault] = []
    for details in error.errors(include_url=False):
        real = _real_path(document, path, details["loc"])
        if details["type"] in ("extra_forbidden", "missing"):
            faults.append(_key_fault(details, cls, document, path, real))
            continue
        if details["type"] == "union_tag_invalid":
            real = (*real, details["ctx"]["discriminator"].strip("'"))
        at_path.setdefault(real, []).append(details)
    for real, found in at_path.items():
        if all(d["type"] in _EXPECTED for d in found) and _is_entries_of_union(
            cls, document, path, real
        ):
            continue  # entries are meant, whose own faults are told
        place = document.place(real)
        misread = document.bad.get((place.line, place.col))
        message = _message(found, document, real) if misread is None else None
        if misread is not None and real[-1] != "address":  # which may be a number, kept as text
            message = _advice(misread, found)
        if message:
            faults.append(place.fault(message))
    return faults


def _advice(misread: Misread, found: Collection[ErrorDetails]) -> str | None:
    """What to write for a value that YAML readers differ on, where only one kind is allowed."""
    expected = {_EXPECTED.get(d["type"]) for d in found}
    if misread.ambiguous is None or None in expected:
        return None
    if expected == {"text"}:
        return misread.ambiguous.for_text
    texts = {"text", "a path", "a size such as 500MB or 4GB"}
    return None if expected & texts else misread.ambiguous.for_others


def _real_path(document: Document, path: Path_, loc: Iterable[str | int]) -> Path_:
    """The part of a location that exists in the file: union tags and field defaults do not."""
    at: Any = document.value(path)
    real = list(path)
    for part in loc:
        is_item = isinstance(at, Items) and isinstance(part, int) and part < len(at)
        if is_item or (isinstance(at, Section) and part in at):
            at = at[part]
            real.append(part)
    return tuple(real)


def _key_fault(
    details: ErrorDetails, cls: type[BaseModel], document: Document, path: Path_, real: Path_
) -> Fault:
    key = str(details["loc"][-1])
    owner_path = real if details["type"] == "missing" else real[:-1]
    owner = _model_at(cls, document.value(path), owner_path[len(path) :])
    known = known_keys(owner) if owner is not None else {}
    place = document.place(real, key=True)
    if details["type"] == "extra_forbidden":
        return place.fault(f"unknown key '{key}'; {nearest(key, known)}")
    meaning = ""
    if owner is not None and key in known:
        text = owner.model_fields[known[key]].description or ""
        first = text[:1] if text[1:2] == "/" else text[:1].lower()  # A/B stays
        meaning = f"; expected: {first}{text[1:].rstrip('.')}"
    return place.fault(f"'{key}' is missing{meaning}")


def _model_at(cls: type[BaseModel], value: Any, path: Path_) -> type[BaseModel] | None:
    """The settings class of a nested value."""
    at: Any = cls
    for part in path:
        model = _model_in(at, value)
        value = value[part]
        if model is None:
            args = get_args(_bare(at))
            at = args[-1] if args else None
        else:
            field = model.model_fields.get(known_keys(model).get(str(part), ""))
            at = field.annotation if field is not None else None
    return _model_in(at, value)


def _is_entries_of_union(
    cls: type[BaseModel], document: Document, path: Path_, real: Path_
) -> bool:
    """Whether there are entries at ``real``, which may have them beside other kinds of value."""
    if not isinstance(document.value(real), dict) or len(real) == len(path):
        return False
    *outer, key = real[len(path) :]
    owner = _model_at(cls, document.value(path), tuple(outer))
    field = owner.model_fields.get(known_keys(owner).get(str(key), "")) if owner else None
    kinds = get_args(_bare(field.annotation)) if field is not None else ()
    return any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds)


def _bare(annotation: Any) -> Any:
    """Without Annotated and None."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        parts = [p for p in get_args(annotation) if p is not type(None)]
        return _bare(parts[0]) if len(parts) == 1 else annotation
    return annotation


def _model_in(annotation: Any, value: Any) -> type[BaseModel] | None:
    """The settings class of an annotation; of a union the one whose literals suit the value."""
    annotation = _bare(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) not in (Union, UnionType) or not isinstance(value, dict):
        return None
    for part in map(_bare, get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            fixed = {k: get_args(f.annotation) for k, f in part.model_fields.items()
                     if get_origin(f.annotation) is Literal}  # fmt: skip
            if all(value.get(key) in choices for key, choices in fixed.items()):
                return part
    return None


def _message(found: Collection[ErrorDetails], document: Document, path: Path_) -> str:
    details = next(iter(found))
    value, text = document.value(path), document.text(path)
    if all(d["type"] in _EXPECTED for d in found):
        expected = " or ".join(dict.fromkeys(_EXPECTED[d["type"]] for d in found))
        key = str(path[-1]) if path else ""
        write = meant(value, key, expected) if path else None
        hint = f"; write {write}" if write else ""
        quoted = "text" in expected and key != "listen"
        return f"expected {expected}, found {describe(value, text, quoted)}{hint}"
    # of a union: the branch of the right kind says most
    details = next((d for d in found if d["type"] not in _EXPECTED), details)
    kind, context = details["type"], details.get("ctx", {})
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", details["msg"]))
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        bound = context[name]
        number = f"{bound:g}" if isinstance(bound, float) else bound
        return f"{describe(value, text)} is out of range; expected {words} {number}"
    if kind in ("literal_error", "enum", "union_tag_invalid"):
        if kind == "union_tag_invalid":
            value = context["tag"]
        choices = context.get("expected") or context["expected_tags"]
        hint = nearest(str(value), re.findall(r"'([^']*)'", choices) or [choices], "expected")
        return f"{describe(value, text, True)} is not known; {hint}"
    if kind == "union_tag_not_found":
        return f"{context['discriminator']} is missing; it says which kind of entry this is"
    if kind == "string_too_short":
        least = context["min_length"]
        return "the text is empty" if least == 1 else f"expected at least {least} characters"
    if kind in ("too_long", "too_short") and isinstance(value, list | dict):
        least, most = context.get("min_length"), context.get("max_length")
        some = f"at least {least}" if most is None else f"at most {most}"
        return (
            f"expected {some} {'entry' if some.endswith(' 1') else 'entries'}, found {len(value)}"
        )
    if kind == "string_pattern_mismatch" and context["pattern"] == NAME:
        return f"{describe(value, text)} has the wrong form; expected letters, digits and _"
    if kind == "string_pattern_mismatch":
        return f"{describe(value, text)} has the wrong form; expected {context['pattern']}"
    return f"{details['msg']}; found {describe(value, text)}"


def describe(value: Any, text: str | None = None, text_expected: bool = False) -> str:
    """A value for a message, as it was written; a hint to quote it where text was expected."""
    if isinstance(value, str):
        short = value if len(value) <= 60 else value[:57] + "..."
        return f"'{short}'"
    if isinstance(value, dict):
        return "`key: value` entries"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    written = text if text is not None and len(text) <= 60 else str(value)
    what = "the truth value" if isinstance(value, bool) else "the number"
    hint = f'; quote it: "{written}"' if text_expected else ""
    return f"{what} {written}{hint}"
