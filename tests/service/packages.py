"""The packages under test, built once from this tree."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from tests.service.container import once
from tests.support import ROOT

PARTS = (
    "gateway",
    "drivers",
    "configs",
    "systemd",
    "package",
    "requirements.lock",
    "pyproject.toml",
)


def _state_of_tree() -> str:
    digest = hashlib.sha256()
    for part in PARTS:
        top = ROOT / part
        files = sorted(top.rglob("*")) if top.is_dir() else [top]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return digest.hexdigest()


def _built(name: str, command: list[str]) -> Path:
    """The folder that a command fills, made anew where the tree has changed."""
    with once(name) as place:
        stamp, state = place.with_suffix(".state"), _state_of_tree()
        if not stamp.exists() or stamp.read_text() != state:
            done = subprocess.run(
                [*command, str(place)], cwd=ROOT, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
            stamp.write_text(state)
        return place


def wheelhouse() -> Path:
    """The folder of wheels, ``make wheelhouse``."""
    return _built("wheelhouse", ["package/wheelhouse"])


def deb() -> Path:
    """The folder with the Debian package, and one of a version before it."""
    wheels = wheelhouse()
    place = _built("deb", ["sh", "-c", f'rm -rf "$1" && package/deb "$1" {wheels}', "sh"])
    with once("deb"):
        if not (place / "before.deb").exists():
            _renumbered(next(place.glob("edge-gateway_*.deb")), place / "before.deb", "0.0.9")
    return place


def _renumbered(package: Path, out: Path, version: str) -> None:
    """The same package under another version number."""
    folder = out.with_suffix(".tree")
    subprocess.run(["dpkg-deb", "-R", str(package), str(folder)], check=True)
    control = folder / "DEBIAN/control"
    lines = control.read_text().splitlines(keepends=True)
    control.write_text(
        "".join(f"Version: {version}\n" if x.startswith("Version:") else x for x in lines)
    )
    subprocess.run(["dpkg-deb", "-Zzstd", "-z1", "-b", str(folder), str(out)], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    subprocess.run(["rm", "-rf", str(folder)], check=True)
