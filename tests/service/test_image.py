"""package/container/Containerfile built by buildah, and the gateway of the image started.

The base image cannot be fetched here: a Debian 12 tree with Python 3.11 stands in under its name.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.service import packages
from tests.service.container import tree
from tests.support import ROOT, free_port, need_program, until

BASE = "docker.io/library/python:3.11-slim-bookworm"
FILE = ROOT / "package/container/Containerfile"
pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("service")]


class Buildah:
    """Buildah with a store of its own."""

    def __init__(self, folder: Path) -> None:
        store = folder / "storage.conf"
        store.write_text(
            f'[storage]\ndriver = "vfs"\nrunroot = "{folder}/run"\ngraphroot = "{folder}/graph"\n'
        )
        self._environment = {**os.environ, "CONTAINERS_STORAGE_CONF": str(store)}
        self._program = need_program("buildah", "buildah")

    def command(self, *words: str) -> list[str]:
        return [self._program, *words]

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True, check=False,
            env=self._environment, timeout=400,
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout.strip()

    def started(self, *words: str, log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as out:
            return subprocess.Popen(
                self.command(*words), env=self._environment, stdout=out, stderr=out
            )


def test_the_image_builds_and_its_gateway_runs(tmp_path: Path) -> None:
    buildah = Buildah(tmp_path)
    base = buildah("from", "scratch")
    buildah("add", "--quiet", base, str(tree()), "/")
    buildah("commit", "--quiet", "--rm", base, BASE)
    context = tmp_path / "context"
    (context / "dist").mkdir(parents=True)
    (context / "dist/wheelhouse").symlink_to(packages.wheelhouse())
    subprocess.run(["cp", "-rL", str(context), f"{context}.whole"], check=True)
    buildah(
        "bud", "--isolation", "chroot", "--pull-never", "--format", "docker",
        "--ignorefile", f"{FILE}.dockerignore", "--file", str(FILE),
        "--tag", "edge-gateway", f"{context}.whole",
    )  # fmt: skip
    made = buildah("from", "--pull-never", "edge-gateway")
    try:
        run = ("run", "--isolation", "chroot", made, "--")
        assert buildah(*run, "gateway", "--version").startswith("gateway ")
        assert buildah(*run, "id", "-u") == "990"
        demo = (ROOT / "package/container/gateway.yaml").read_text("utf-8")
        before, _, behind = demo.partition("  influx:\n")
        demo = before + behind[behind.index("  history:") :]  # no server in this test
        file = tmp_path / "gateway.yaml"
        port = free_port()  # it is some time until it is listened on
        file.write_text(demo.replace("0.0.0.0:8080", f"127.0.0.1:{port}"))
        buildah("copy", "--quiet", made, str(file), "/etc/edge-gateway/gateway.yaml")
        press = str(ROOT / "configs/maps/press.yaml")
        buildah("copy", "--quiet", made, press, "/etc/edge-gateway/maps/press.yaml")
        buildah(*run, "gateway", "token", "add", "/etc/edge-gateway/gateway.yaml", "me")
        log = tmp_path / "log"
        process = buildah.started(*run, "gateway", "run", "/etc/edge-gateway/gateway.yaml", log=log)
        try:
            check = "gateway status >/dev/null; test $? -le 1"  # as HEALTHCHECK has it
            assert check in FILE.read_text("utf-8")

            def healthy() -> bool:
                assert process.poll() is None, log.read_text()
                done = subprocess.run(
                    buildah.command(*run, "sh", "-c", check), check=False, capture_output=True,
                    env=buildah._environment,
                )  # fmt: skip
                return done.returncode == 0

            until(healthy, 90, "the health check")
        finally:
            process.terminate()
            process.wait(30)
    finally:
        buildah("rm", made)
