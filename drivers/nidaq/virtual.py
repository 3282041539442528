"""The virtual channels of a task: what NI-DAQmx is told of each input."""

from __future__ import annotations

from typing import Any, Final

from drivers.nidaq import vendor
from drivers.nidaq.settings import NidaqChannel

_TERMINALS: Final = {
    "default": "DEFAULT",
    "differential": "DIFF",
    "pseudodifferential": "PSEUDO_DIFF",
    "rse": "RSE",
    "nrse": "NRSE",
}


def add_channel(channels: Any, address: str, spec: NidaqChannel) -> None:
    """One virtual channel; its limits and units as the settings have them."""
    names = vendor.constants
    low, high = spec.limits
    source = names.ExcitationSource.INTERNAL if spec.is_fed else names.ExcitationSource.NONE
    terminal = names.TerminalConfiguration[_TERMINALS[spec.terminal]]
    if spec.type == "accelerometer":
        metric = spec.unit == "m/s2"
        channel = channels.add_ai_accel_chan(
            address,
            terminal_config=terminal,
            min_val=low,
            max_val=high,
            units=names.AccelUnits.METERS_PER_SECOND_SQUARED if metric else names.AccelUnits.G,
            sensitivity=spec.sensitivity_mv_per_g,
            sensitivity_units=names.AccelSensitivityUnits.MILLIVOLTS_PER_G,
            current_excit_source=source,
            current_excit_val=spec.current_a,
        )
    elif spec.type == "iepe_voltage":
        channel = channels.add_ai_voltage_chan_with_excit(
            address,
            terminal_config=terminal,
            min_val=low,
            max_val=high,
            voltage_excit_source=source,
            voltage_excit_val=spec.current_a,
        )
        if spec.is_fed:
            channel.ai_excit_voltage_or_current = names.ExcitationVoltageOrCurrent.USE_CURRENT
    elif spec.type == "voltage":
        channel = channels.add_ai_voltage_chan(
            address, terminal_config=terminal, min_val=low, max_val=high
        )
    elif spec.type == "thermocouple":
        constant = spec.cold_junction_degc is not None
        channel = channels.add_ai_thrmcpl_chan(
            address,
            min_val=low,
            max_val=high,
            thermocouple_type=names.ThermocoupleType[str(spec.thermocouple_type)],
            cjc_source=names.CJCSource.CONSTANT_USER_VALUE
            if constant
            else names.CJCSource.BUILT_IN,
            cjc_val=spec.cold_junction_degc if constant else 25.0,
        )
    else:
        channel = channels.add_ai_rtd_chan(
            address,
            min_val=low,
            max_val=high,
            rtd_type=names.RTDType[f"PT_{spec.rtd_type.removeprefix('pt')}"],
            resistance_config=names.ResistanceConfiguration(spec.wires),
            current_excit_source=source,
            current_excit_val=spec.current_a,
            r_0=spec.r0_ohm,
        )
    if spec.coupled is not None:
        channel.ai_coupling = names.Coupling.AC if spec.coupled == "ac" else names.Coupling.DC
