"""package/container by linters: no engine runs here (tests/service/test_image.py has buildah)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gateway.config import load
from tests.docs.kit import typed
from tests.support import ROOT, missing

FOLDER = ROOT / "package/container"
CACHE = ROOT / ".cache/container"
SPEC = """
import sys
from compose_spec import PyCompose

compose = PyCompose.from_yaml(sys.stdin.read())
compose.validate()
compose.validate_networks(), compose.validate_volumes(), compose.validate_secrets()
"""


@pytest.fixture(autouse=True)
def linters() -> None:
    if not (CACHE / ".ready").exists():
        missing("the linters of containers", "make .cache/container/.ready")


def run(*command: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, input=given, capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(CACHE), "NO_COLOR": "1"},
    )  # fmt: skip


def test_hadolint_finds_nothing_in_the_containerfile() -> None:
    text = (FOLDER / "Containerfile").read_text("utf-8")
    good = run(str(CACHE / "bin/hadolint"), "-", given=text)
    assert good.returncode == 0, good.stdout
    assert good.stdout == ""
    spoiled = run(
        str(CACHE / "bin/hadolint"), "-", given=text.replace("3.11-slim-bookworm", "latest")
    )
    assert "DL3007" in spoiled.stdout


SPOILED = {
    "restart: always": "restart: allways",
    "mem_limit": "mem_limits",
    "stop_grace_period: 30s": "stop_grace_period: soon",
    "secrets: [influx_token]": "secrets: [influx_tokn]",
}


def test_the_compose_file_is_of_the_specification() -> None:
    text = (FOLDER / "compose.yaml").read_text("utf-8")
    good = run(sys.executable, "-c", SPEC, given=text)
    assert good.returncode == 0, good.stderr
    for old, new in SPOILED.items():
        assert old in text
        assert run(sys.executable, "-c", SPEC, given=text.replace(old, new, 1)).returncode, new


def test_compose_lint_finds_nothing_above_low_but_digests() -> None:
    """Images have tags without a digest: one is built, the others were never at hand."""
    done = run(
        sys.executable, "-m", "compose_lint", "--fail-on", "high", str(FOLDER / "compose.yaml")
    )
    assert done.returncode == 0, done.stdout
    assert set(re.findall(r"MEDIUM +(CL-\d+)", done.stdout)) == {"CL-0019"}


def test_the_files_that_compose_names_are_there(tmp_path: Path) -> None:
    """Those of the repository, and those that `./secrets` makes."""
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
    copy = tmp_path / "package/container"
    copy.mkdir(parents=True)
    for file in FOLDER.iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
            (copy / file.name).chmod(file.stat().st_mode)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    typed("./secrets", copy, {})
    first = {p.name: p.read_text() for p in (copy / "secrets.d").iterdir()}
    typed("./secrets", copy, {})
    assert first == {p.name: p.read_text() for p in (copy / "secrets.d").iterdir()}, "made once"
    assert all(re.fullmatch("[0-9a-f]{64}", text) for text in first.values())
    bound = [
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service["volumes"]
        if volume.startswith(".")
    ]
    named = [v.split(":")[0] for s in compose["services"].values() for v in s["volumes"]]
    assert {name for name in named if not name.startswith(".")} == set(compose["volumes"])
    bound += [secret["file"] for secret in compose["secrets"].values()]
    assert len(bound) > 5
    assert [name for name in bound if not (copy / name).exists()] == []

    # ports are for this PC alone, in whatever is added, too
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])

    # the gateway's file is one that the gateway takes, with places of this test
    text = (copy / "gateway.yaml").read_text("utf-8")
    text = text.replace("/run/secrets", str(copy / "secrets.d"))
    text = text.replace("/var/lib/edge-gateway", str(tmp_path / "state"))
    (tmp_path / "state").mkdir()
    (copy / "gateway.yaml").write_text(text, "utf-8")
    made = run(sys.executable, "-m", "gateway", "token", "add", str(copy / "gateway.yaml"), "me")
    assert made.returncode == 0, made.stderr
    assert set(load(copy / "gateway.yaml").devices) == {"press_1"}
