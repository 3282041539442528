"""The long test of the fleet runs in CI, and with the fault tests."""

from __future__ import annotations

import os

from tests.faults.conftest import proof
from tests.support import CI

__all__ = ["proof"]

collect_ignore = [] if CI or os.environ.get("GATEWAY_FAULTS") else ["test_chaos.py"]
