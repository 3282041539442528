"""Spares what a library imports only to be compatible with something that is not used here."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

PYDANTIC_1 = "pydantic.v1"
"""FastAPI asks of every parameter whether it is a model of pydantic 1, and imports all of that (24
modules, 1.4 MB, 0.05 s) to ask. Where it is not installed, the answer is no."""


@contextlib.contextmanager
def absent(module: str) -> Iterator[None]:
    """In here, importing a module that is not imported yet fails as if it were not installed.

    None in `sys.modules` is Python's own way to say so (The import system, 5.3.1).
    """
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if sys.modules.get(module) is None:
            sys.modules.pop(module, None)
