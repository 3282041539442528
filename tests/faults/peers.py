"""The counting peers as processes, which a test stops, kills and starts again."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.sims.counting import Answered, read_log
from tests.support import ROOT, S7_PEER_PACKAGE, free_port, missing


class CountingPeer:
    """A machine on a port of its own: ``s7`` (the C library) or ``modbus`` (libmodbus)."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.port = free_port()
        self._log = folder / f"{kind}.answers"
        self._process: subprocess.Popen[bytes] | None = None
        if kind == "s7" and not (S7_PEER_PACKAGE / "snap7").is_dir():
            missing("the C library's S7 server", "run `make peers`")
        if kind == "modbus":
            try:
                ctypes.CDLL("libmodbus.so.5")
            except OSError:
                missing("libmodbus.so.5", "apt-get install libmodbus5")

    def start(self) -> None:
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        if self.kind == "s7":
            environment["PYTHONPATH"] = str(S7_PEER_PACKAGE)
        module = f"tests.sims.counting_{self.kind}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(self.port), str(self._log)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n", f"the {self.kind} peer has ended"

    def send(self, number: signal.Signals) -> None:
        """SIGSTOP, SIGCONT."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Gone, with all its connections. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()

    def answered(self) -> list[Answered]:
        """Every number that it gave so far."""
        return read_log(self._log)
