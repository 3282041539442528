"""Modbus devices: TCP, RTU and RTU over TCP, alone or several on one bus."""

from drivers.modbus.driver import ModbusDriver

__all__ = ["ModbusDriver"]
