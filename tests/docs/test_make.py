"""Targets of make that the documents name, in a copy of what a clone has."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from tests.docs.kit import fresh_checkout
from tests.docs.servers import running
from tests.support import free_port
from tests.system.cli_kit import said


def test_make_run_on_a_free_port(tmp_path: Path) -> None:
    checkout = fresh_checkout(tmp_path)
    demo = checkout / "configs/demo.yaml"
    text, count = re.subn(r"127\.0\.0\.1:8080", f"127.0.0.1:{free_port()}", demo.read_text())
    assert count == 1
    demo.write_text(text)
    ended = -signal.SIGTERM  # make's own way to end by a signal, once its child has ended
    with running("make run", checkout, checkout / "log", ended) as process:
        shown = said(checkout / "log", "Next, in another terminal", process)
    assert "http://127.0.0.1:" in shown
