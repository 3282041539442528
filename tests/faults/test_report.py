"""The page says what the results say."""

from __future__ import annotations

import re
from pathlib import Path

from tests.faults import report


def test_the_page_is_what_the_kept_results_give() -> None:
    assert report.PAGE.read_text("utf-8") == report.page(report.read([report.KEPT])), (
        "run: python -m tests.faults.report"
    )


def test_the_page_names_each_test_of_a_fault() -> None:
    files = Path(__file__).parent.glob("test_*.py")
    source = "\n".join(path.read_text("utf-8") for path in files)
    tests = set(re.findall(r"^def (test_\w+)\(proof: Proof", source, re.MULTILINE))
    named = re.findall(r"`(test_\w+)`", report.TEXT.read_text("utf-8"))
    assert sorted(named) == sorted(tests), "each once"


def test_failed_runs_and_losses_are_shown() -> None:
    run = {"test": "t", "name": "n", "fault": "Kill", "seed": 1, "seconds": 1.0, "unit": "kills"}
    run |= {"commit": "c", "form": "short", "injected": 1000, "answered": 5000, "result": "held"}
    bad = {**run, "seed": 2, "result": "failed", "silent": 3, "named": {"unclean_stop": 4}}
    *_, row = report.table([run, bad])
    assert row == (
        "| Kill (**1 of 2 runs failed**) | 2,000 kills | 10,000 | 4 unclean_stop | 0 | **3** |"
    )
