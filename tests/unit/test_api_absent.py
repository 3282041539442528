"""What is absent for a library is there again afterwards, and was never taken from who has it."""

from __future__ import annotations

import importlib
import sys

import pytest

from gateway.api.absent import absent

RARE = "colorsys"
"""A module that nothing here uses."""


def test_a_module_that_nobody_imported_is_as_if_it_were_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, RARE, raising=False)
    with absent(RARE), pytest.raises(ImportError):
        importlib.import_module(RARE)
    assert RARE not in sys.modules
    assert importlib.import_module(RARE).rgb_to_hsv(0.0, 0.0, 0.0) == (0.0, 0.0, 0.0)


def test_a_module_that_is_imported_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.import_module(RARE)
    monkeypatch.setitem(sys.modules, RARE, there)
    with absent(RARE):
        assert importlib.import_module(RARE) is there
    assert sys.modules[RARE] is there


def test_it_is_there_again_after_a_fault_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, RARE, raising=False)
    with pytest.raises(ZeroDivisionError), absent(RARE):
        raise ZeroDivisionError
    assert importlib.import_module(RARE)
