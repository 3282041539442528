"""Loads the file of `gateway serve`: all faults in one pass, each with its place."""

from __future__ import annotations

from pathlib import Path

from gateway.api.tokens import read_tokens
from gateway.config.collect import Collector
from gateway.config.namedfiles import with_files
from gateway.config.validation import outline
from gateway.errors import ConfigError, GatewayError
from gateway.serve.sessions import MIN_KEY_BYTES
from gateway.serve.settings import ServeFile
from gateway.yamlfile import gc_paused, read_yaml
from gateway.yamlfile.document import printable, tidy


def load_serve(path: Path) -> ServeFile:
    """The settings, with absolute paths. ConfigError with all faults of the file."""
    try:
        with gc_paused():
            return _load(tidy(Path(path).absolute()))
    except ConfigError as error:
        faults = [f._replace(message=printable(f.message)) for f in error.faults]
    raise ConfigError(faults)


def _load(path: Path) -> ServeFile:
    found = Collector(read_yaml(path))
    given = outline(found.document.root)
    _, file = found.validate(ServeFile, given, ())
    updates: dict[str, object] = {}
    for key in ("redis", "history", "api") if file is not None else ():
        if (settings := getattr(file, key)) is None:
            continue
        made, faults = with_files(settings, path.parent)
        for field, message in faults:
            found.fault((key, field), message)
        updates[key] = made
        if key == "api" and not faults:
            _look_into(found, made)
    if found.faults or file is None:
        raise ConfigError(found.faults)
    return file.model_copy(update=updates)


def _look_into(found: Collector, api: object) -> None:
    tokens, key = getattr(api, "tokens_file", None), getattr(api, "session_key_file", None)
    if tokens is not None:
        try:
            read_tokens(tokens)
        except GatewayError as error:
            found.fault(("api", "tokens_file"), str(error))
    if key is not None and len(key.read_bytes().strip()) < MIN_KEY_BYTES:
        message = f"{key} is too short; expected {MIN_KEY_BYTES} random bytes or more"
        found.fault(("api", "session_key_file"), message)
