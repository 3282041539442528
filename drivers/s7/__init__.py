"""Siemens S7 PLCs over ISO-on-TCP (S7 communication with PUT/GET)."""

from drivers.s7.driver import S7Driver

__all__ = ["S7Driver"]
