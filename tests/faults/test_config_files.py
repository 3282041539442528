"""Configuration files as people, editors and disks spoil them."""

from __future__ import annotations

import shutil

import pytest

from gateway.config import Plant
from tests.faults.conftest import Proof
from tests.faults.results import size
from tests.unit.test_config_fuzz import FILES, PLANT, mutate, outcome, restructure


@pytest.mark.timeout(size(300, 7200))
def test_mutated_configurations(proof: Proof) -> None:
    """Configuration files mutated: a plant or faults in words, never a traceback."""
    folder = shutil.copytree(PLANT, proof.folder / "plant")
    count = size(1000, 20_000)
    valid = 0
    for _ in range(count):
        file = proof.chance.choice(FILES)
        text = (PLANT / file).read_text("utf-8")
        change = proof.chance.choice((mutate, restructure))
        try:
            (folder / file).write_text(change(text, proof.chance), "utf-8")
            valid += isinstance(outcome(folder), Plant)
        finally:
            (folder / file).write_text(text, "utf-8")
    assert 0 < valid < count, "some are still valid, most are not"
    proof.holds(count, "files", valid=valid)
