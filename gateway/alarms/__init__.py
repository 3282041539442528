"""Alarms: rules over live values, their states in the words of ISA-18.2, and who is told."""
