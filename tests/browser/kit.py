"""A plant for the page: a fast press with hostile texts, a pump that streams, alarms."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.api.client import Client, NotRunning, RequestFailed
from tests.support import ROOT, free_port, until
from tests.system.cli_kit import started

if TYPE_CHECKING:
    from playwright.sync_api import Page

HOSTILE = '<img src=x onerror="window.harmed=1"><script>window.harmed=1</script>'
SERIES = [f"s{i:02d}" for i in range(16)]

PRESS = """\
driver: mock
groups:
  process:
    interval_s: 0.1
    tags:
      force: {type: real, unit: kN, signal: {kind: sine, mean: 50, amplitude: 10, period_s: 4}}
      level: {type: real, unit: "<i>%</i>", signal: {kind: constant, value: 42}}
      broken:
        type: real
        signal: {kind: constant, value: 1}
        bad: {every_s: 3600, for_s: 3600, reason: sensor_fault}
      guard: {type: bool, signal: {kind: square, period_s: 3}}
      text: {type: string, signal: {kind: constant, value: 'HOSTILE'}}
"""
SWEEP = "driver: mock\ngroups:\n  sweep:\n    interval_s: 0.1\n    tags:\n" + "".join(
    f"      {name}: {{type: real, unit: bar, signal: {{kind: sine, mean: {50 + 3 * i}, "
    f"amplitude: 10, period_s: {5 + i}}}}}\n"
    for i, name in enumerate(SERIES)
)
GATEWAY = """\
gateway: {name: hall-3}
state_dir: state
api: {socket: s, listen: "127.0.0.1:PORT"}
sinks:
  history: {type: sqlite, retention_days: 1, max_bytes: 2GB}
alarms:
  rules:
    always_high:
      {kind: limits, tag: press_1.process.level, high: 40, severity: critical, message: 'HOSTILE'}
    second_high: {kind: limits, tag: press_1.process.level, high: 41, severity: medium}
devices:
  press_1: {driver: mock, map: press.yaml}
  sweep: {driver: mock, map: sweep.yaml}
  pump_1: {driver: mock, map: demo-pump.yaml}
"""


class Gateway:
    """A daemon as a process; it can be killed, frozen and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "gateway.yaml"
        self.port = free_port()  # it comes back to it after a kill
        self.process: subprocess.Popen[bytes] | None = None
        self.file.write_text(
            GATEWAY.replace("PORT", str(self.port)).replace("HOSTILE", HOSTILE.replace("'", "''"))
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def client(self) -> Client:
        """An operator: it asks on the Unix socket."""
        return Client(self.folder / "s")

    @contextlib.contextmanager
    def started(self, **environment: str) -> Iterator[Gateway]:
        """Run it meanwhile; it is ready."""
        log = self.folder / "log"
        with started("run", self.file, log=log, **environment) as self.process:
            try:
                until(self._is_ready, 60, "the gateway is ready")
                yield self
            finally:
                with contextlib.suppress(ProcessLookupError):
                    self.process.send_signal(signal.SIGCONT)

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            if self.client.get_json("/v1/status")["state"] not in ("good", "degraded"):
                return False
            # a trend asks for it at once, and Chromium tells of a 404 while nothing is stored
            for device, tag in (("press_1", "process:force"), ("sweep", "sweep:s00")):
                self.client.get_json("/v1/history", {"device": device, "tag": tag, "from": "-1h"})
        except (NotRunning, RequestFailed, TimeoutError):
            return False
        return True

    def send(self, what: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(what)
        if what == signal.SIGKILL:
            self.process.wait(10)

    def code(self) -> str:
        """A sign-in code, as `gateway sign-in` prints it."""
        found: dict[str, Any] = self.client.post_json("/v1/session/codes")
        return str(found["code"])


def config(folder: Path) -> Gateway:
    """The plant's files in a folder."""
    (folder / "press.yaml").write_text(PRESS.replace("HOSTILE", HOSTILE.replace("'", "''")))
    (folder / "sweep.yaml").write_text(SWEEP)
    shutil.copy(ROOT / "configs" / "maps" / "demo-pump.yaml", folder)
    return Gateway(folder)


def wait_text(page: Page, selector: str, pattern: str, deadline_s: float = 20) -> None:
    """Until any of these elements matches; the page may be opened anew meanwhile."""
    found = page.locator(selector).filter(has_text=re.compile(pattern)).first
    found.wait_for(state="attached", timeout=1000 * deadline_s)


def pictures(page: Page) -> str:
    """What the charts show now."""
    shown: str = page.evaluate(
        "() => [...document.querySelectorAll('.panel canvas')].map((c) => c.toDataURL()).join()"
    )
    return shown


def busy_s(page: Page, cpu: bool = True) -> Any:
    """CPU time of the page's main thread so far, for a difference: a call gives the seconds."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"} if cpu else {})

    def read() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return float(next(m["value"] for m in metrics if m["name"] == "TaskDuration"))

    return read


def no_dialog(page: Page) -> None:
    """Until the last one is closed: what it did may be seen on the page before."""
    until(lambda: page.locator("dialog").count() == 0, 20, "the dialog to close")


def elapsed(begun: float) -> float:
    return time.monotonic() - begun
