"""Starts the processes of the NI tests: the gRPC server, and the driver with the fake runtime."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support import ROOT, missing

HERE = Path(__file__).parent


class Told:
    """A process that answers each JSON line with one; its first line says that it is there."""

    def __init__(self, script: str, *arguments: str, **env: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"tests.sims.{script}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **env},
        )
        self.first = self.answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def ask(self, *command: Any) -> None:
        """Send a command; `answer` has what comes of it."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        """The next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a process of the test ended with {self.process.wait()}")
        return json.loads(line)

    def tell(self, *command: Any) -> Any:
        """Send a command; its answer."""
        self.ask(*command)
        return self.answer()

    def kill(self) -> None:
        """As a power cut does."""
        self.process.kill()
        self.end()

    def end(self) -> None:
        """Close its input and wait for its end."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class NiServer(Told):
    """The gRPC server; see `ni_server` for what it can be told."""

    def __init__(self, port: int = 0) -> None:
        super().__init__("ni_server", str(port))
        self.port = int(self.first)


def driver_process(runtime: Path | None = None) -> Told:
    """The driver's process (see `ni_driver`), with the fake runtime of that folder or with none."""
    return Told("ni_driver", **({"LD_LIBRARY_PATH": str(runtime)} if runtime else {}))


def build_runtime(folder: Path) -> Path:
    """Compile the fake runtime into the folder; skips where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        missing("cc", "apt-get install gcc libc6-dev")
    command = [
        str(compiler), "-O2", "-Wall", "-shared", "-fPIC", "-Wl,-soname,libnidaqmx.so.1",
        "-o", str(folder / "libnidaqmx.so.1"), str(HERE / "nidaqmx_fake.c"), "-lpthread",
    ]  # fmt: skip
    subprocess.run(command, check=True)
    # the linker, which Python asks for the library, looks for this name
    (folder / "libnidaqmx.so").symlink_to("libnidaqmx.so.1")
    return folder
