"""The one file that imports nidaqmx and gRPC.

It is itself imported only to connect or to serve a simulation, because it takes about a second.
"""

from __future__ import annotations

import os

# else its core writes to the standard error that a server said good-bye; read on import
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc  # type: ignore[import-untyped]
import nidaqmx  # type: ignore[import-untyped]
from nidaqmx import constants, errors
from nidaqmx._stubs import nidaqmx_pb2 as messages  # type: ignore[import-untyped]
from nidaqmx._stubs import nidaqmx_pb2_grpc as service
from nidaqmx.grpc_session_options import (  # type: ignore[import-untyped]
    GrpcSessionOptions,
    SessionInitializationBehavior,
)
from nidaqmx.stream_readers import AnalogMultiChannelReader  # type: ignore[import-untyped]
from session_pb2 import Session as ServerSession

__all__ = [
    "AnalogMultiChannelReader",
    "GrpcSessionOptions",
    "ServerSession",
    "SessionInitializationBehavior",
    "constants",
    "errors",
    "grpc",
    "messages",
    "nidaqmx",
    "service",
]
