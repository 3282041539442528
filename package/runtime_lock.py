"""Prints the part of requirements.lock that the named extras need: runtime_lock.py s7,mqtt 3.11.2

The second argument is the Python that installs them, where it is another one than this.

The lock has all extras, also what only developers need; an installation gets what it uses.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from platform import python_version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent


def needed(name: str, extras: frozenset[str], seen: dict[str, frozenset[str]], python: str) -> None:
    """Add to ``seen`` what a distribution needs under that Python, itself too."""
    key = canonicalize_name(name)
    if key in seen and extras <= seen[key]:
        return
    seen[key] = seen.get(key, frozenset()) | extras
    try:
        requires = distribution(name).requires or ()
    except PackageNotFoundError:  # only an older Python needs it: the lock has it all the same
        return
    for text in requires:
        requirement = Requirement(text)
        marker = requirement.marker
        given = {"python_full_version": python}
        if marker is None or any(marker.evaluate({**given, "extra": e}) for e in ("", *extras)):
            needed(requirement.name, frozenset(requirement.extras), seen, python)


def pieces(text: str) -> dict[str, str]:
    """Name -> its lines of the lock, hashes with them."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines(keepends=True):
        if not line[:1].isspace() and not line.startswith("#") and "==" in line:
            name = canonicalize_name(line.partition("==")[0])
        if name and not line.lstrip().startswith("#"):
            found[name] = found.get(name, "") + line
    return found


def main() -> None:
    """Print the subset, in the lock's order."""
    seen: dict[str, frozenset[str]] = {}
    python = sys.argv[2] if len(sys.argv) > 2 else python_version()
    needed("edge-gateway", frozenset(sys.argv[1].split(",")), seen, python)
    del seen["edge-gateway"]
    lock = pieces((ROOT / "requirements.lock").read_text("utf-8"))
    if absent := sorted(seen.keys() - lock.keys()):
        sys.exit(f"not in requirements.lock: {', '.join(absent)}")
    sys.stdout.write("".join(text for name, text in lock.items() if name in seen))


if __name__ == "__main__":
    main()
