"""Edge gateway: reads machines, delivers every row, or says exactly what was lost and why."""

__version__ = "0.1.0"
