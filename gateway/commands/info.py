"""`gateway drivers` and `gateway --version`: what is installed."""

from __future__ import annotations

import platform
from typing import Any

from gateway import __version__
from gateway.commands.console import AsJson, coloured, out, out_json
from gateway.terminal import aligned


def version(as_json: bool) -> None:
    """Print the version."""
    if as_json:
        python = platform.python_version()
        out_json({"name": "edge-gateway", "version": __version__, "python": python})
    else:
        out(f"gateway {__version__}")


def drivers(as_json: AsJson = False) -> None:
    """List the installed drivers and what they need."""
    from gateway.driver import find_driver, installed_drivers
    from gateway.errors import GatewayError

    found: list[dict[str, Any]] = []
    for name in installed_drivers():
        try:
            kind = find_driver(name)
        except GatewayError as error:
            found.append({"driver": name, "usable": False, "problem": str(error)})
            continue
        fields = kind.config_class.model_fields
        needed = [f.alias or key for key, f in fields.items() if f.is_required()]
        text = (kind.__doc__ or "").strip().split("\n")[0]
        found.append(
            {
                "driver": name,
                "usable": True,
                "about": text,
                "required": needed,
                "optional": sorted(
                    f.alias or key for key, f in fields.items() if not f.is_required()
                ),
                "shares_bus": kind.bus_class is not None,
                "simulator": "simulate" in vars(kind),
            }
        )
    if as_json:
        for one in found:
            out_json(one)
        return
    rows = [
        [
            one["driver"],
            ", ".join(one["required"]),
            "yes" if one["simulator"] else "-",
            one["about"],
        ]
        if one["usable"]
        else [one["driver"], "", "", one["problem"]]
        for one in found
    ]
    lines = aligned(rows, ("DRIVER", "NEEDS", "SIM", "ABOUT"))
    out([coloured(lines[0], "bold"), *lines[1:]])
