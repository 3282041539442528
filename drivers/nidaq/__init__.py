"""NI DAQ cards, through the local NI-DAQmx runtime or an NI gRPC Device Server."""

from importlib.util import find_spec

from drivers.nidaq.driver import NidaqDriver

__all__ = ["NidaqDriver"]

# looked for, not imported: that takes a second, and only connecting needs it
for _package in ("nidaqmx", "grpc"):
    if find_spec(_package) is None:
        raise ModuleNotFoundError(f"No module named '{_package}'", name=_package)
