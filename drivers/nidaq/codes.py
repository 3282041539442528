"""What the error codes of NI-DAQmx mean for the gateway (names: ``nidaqmx.error_codes``)."""

from __future__ import annotations

from typing import Final

NOT_YET_AVAILABLE: Final = -200284
"""SAMPLES_NOT_YET_AVAILABLE: a read that timed out, perhaps with a part of its samples."""

OVERRUNS: Final = frozenset(
    {
        -200279,  # SAMPLES_NO_LONGER_AVAILABLE: the buffer was full before it was read
        -200361,  # INPUT_FIFO_OVERFLOW_2
        -200010,  # INPUT_FIFO_OVERFLOW
        -209829,  # INPUT_FIFO_OVERFLOW_3
        -200283,  # ACQ_STOPPED_TO_PREVENT_INTERMEDIATE_BUFFER_OVERFLOW
        -200714,  # ACQ_STOPPED_DRIVER_CANT_XFER_DATA_FAST_ENOUGH
        -201319,  # AI_OVERRUN
    }
)
"""Samples were lost and the task has stopped; started again it goes on."""

_FAMILIES: Final[dict[str, tuple[int, ...]]] = {
    "timeout": (NOT_YET_AVAILABLE,),
    "device_lost": (
        -88709,  # RUNTIME_ABORTED_ROUTING
        -88710,  # RUNTIME_ABORTING_ROUTING
        -89130,  # DEV_ABSENT_OR_UNAVAILABLE_ROUTING
        -201003,  # DEV_CANNOT_BE_ACCESSED
        -200324,  # DEV_ABSENT_OR_UNAVAILABLE
        -50300,  # PAL_DEVICE_NOT_FOUND
        -50401,  # PAL_COMMUNICATIONS_FAULT
        -50405,  # PAL_TRANSFER_ABORTED
        -50808,  # PAL_USB_TRANSACTION_ERROR
        -201250,  # NETWORK_STATUS_TIMED_OUT
        -201252,  # NETWORK_TARGET_UNREACHABLE
        -201253,  # NETWORK_STATUS_DOWN
        -201390,  # NETWORK_STATUS_CONNECTION_LOST
    ),
    "unknown_device": (
        -200220,  # INVALID_DEVICE_ID
        -200170,  # PHYSICAL_CHAN_DOES_NOT_EXIST
        -201237,  # INVALID_PHYS_CHAN_NAME
    ),
    "reserved": (
        -50103,  # PAL_RESOURCE_RESERVED
        -200022,  # RESOURCE_ALREADY_RESERVED
        -201105,  # RESOURCE_RESERVED_WITH_CONFLICTING_SETTINGS
        -201273,  # NETWORK_DEVICE_IN_USE
        -201420,  # NETWORK_DEVICE_RESERVED_BY_ANOTHER_HOST
    ),
    "config": (
        -200077,  # INVALID_ATTRIBUTE_VALUE
        -200557,  # CANNOT_SET_PROPERTY_WHEN_TASK_RUNNING
        -200081,  # SAMPLE_RATE_NUM_CHANS_CONVERT_PERIOD_COMBO
        -200331,  # SAMP_RATE_TOO_LOW
        -200332,  # SAMP_RATE_TOO_HIGH
        -200430,  # INVALID_PHYS_CHAN_TYPE
        -201425,  # DEVS_WITHOUT_COMMON_SYNC_STRATEGY
        -201426,  # DEVS_WITHOUT_SYNC_STRATEGIES
    ),
}

REASONS: Final = {code: reason for reason, codes in _FAMILIES.items() for code in codes}
"""Code -> the short word for it."""


def reason_of(code: int) -> str:
    """The short word for a code that ends the connection, e.g. ``device_lost``."""
    return REASONS.get(code, f"code_{code}")
