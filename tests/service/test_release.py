"""What is given away with a release."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.service import packages
from tests.support import ROOT, missing

# the wheels may have to be built
pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("service")]


def test_the_bill_of_materials_lists_every_wheel(tmp_path: Path) -> None:
    """Each package of the wheelhouse, with the version and a hash that the lock has."""
    if not (ROOT / ".cache/release/.ready").exists():
        missing("cyclonedx-bom", "make sbom")
    out = tmp_path / "edge-gateway.cdx.json"
    subprocess.run(["package/sbom", str(out)], cwd=ROOT, check=True, capture_output=True)
    document = json.loads(out.read_text("utf-8"))
    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["name"] == "edge-gateway"
    listed = {
        (_name(part["name"]), part["version"])
        for part in document["components"]
        if part["externalReferences"][0]["hashes"]
    }
    wheels = {
        (_name(name), version)
        for wheel in packages.wheelhouse().glob("*.whl")
        for name, version in [wheel.name.split("-")[:2]]
        if name != "edge_gateway"
    }
    assert len(wheels) > 20
    assert wheels <= listed


def _name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()
