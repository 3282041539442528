"""Imported maps read by the real drivers from independent servers with bytes laid by hand."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from gateway.importers.convert import Options, convert
from tests.sims.modbus_peer import ModbusPeer
from tests.sims.s7_peer import S7Peer, serve_s7
from tests.unit.importkit import FILES, device, rows

peer = pytest.fixture(scope="module")(serve_s7)


def test_a_data_block_reads_what_was_laid_at_its_offsets(peer: S7Peer, tmp_path: Path) -> None:
    # Hopper.db, computed by hand:
    #   0.0 Running, 0.1 Ready; 2 Level; 6 Temperature; 8 Batch (2 + 10 bytes); 20.0 Door open
    #   22 Bits (10 bits in 2 bytes); 24 and 36 Motor (12 bytes: 4 Real, 2 Int, 6.0, 6.1, 8 three
    #   bytes and one to fill up); 48 Limits (two Reals); 56 Matrix (2 rows of 3 Ints); 68 time;
    #   72 Source (Any, 10 bytes); 82 Started; 90 Counter; 98 the end
    peer.db(14, 98)
    peer.write(14, 0, b"\x02")  # Ready, not Running
    peer.write(14, 2, struct.pack(">fh", 62.5, -21))
    peer.write(14, 8, b"\x0a\x05batch")
    peer.write(14, 20, b"\x01")
    peer.write(14, 22, b"\x05\x02")  # Bits 0, 2 and 9
    peer.write(14, 24, struct.pack(">fhB", 1450.5, 123, 0b01) + b"\xee" + bytes((1, 2, 3)))
    peer.write(14, 36, struct.pack(">fhB", -7.25, 9, 0b10) + b"\xee" + bytes((4, 5, 6)))
    peer.write(14, 48, struct.pack(">ff", 80.0, 20.0))
    peer.write(14, 56, struct.pack(">6h", 1, 2, 3, 4, 5, 6))
    peer.write(14, 68, struct.pack(">i", 90_000))
    peer.write(14, 82, bytes.fromhex("2611221305071231"))
    peer.write(14, 90, struct.pack(">q", -(2**40)))
    made = convert([FILES / "Hopper.db", FILES / "UDT_Motor.udt"], Options())
    driver = device(tmp_path, made, port=peer.port, timeout_s=2, **{"with": "{db: 14}"})
    read = rows(driver)
    assert read["Hopper"] == {
        "Running": False,
        "Ready": True,
        "Level": 62.5,
        "Temperature": -21,
        "Batch": "batch",
        "Door_open": True,
        **{f"Bits_{n}": n in (0, 2, 9) for n in range(10)},
        "Limits_High": 80.0,
        "Limits_Low": 20.0,
        **{f"Matrix_0_{n}": 1 + n for n in range(3)},
        **{f"Matrix_1_{n}": 4 + n for n in range(3)},
        "time_value": 90_000,
        "Started": "2026-11-22T13:05:07.123",
        "Counter": -(2**40),
    }
    motor = {"Speed": 1450.5, "Current": 123, "On": True, "Fault": False}
    assert read["UDT_Motor.Motor_1"] == {**motor, "Codes_0": 1, "Codes_1": 2, "Codes_2": 3}
    motor = {"Speed": -7.25, "Current": 9, "On": False, "Fault": True}
    assert read["UDT_Motor.Motor_2"] == {**motor, "Codes_0": 4, "Codes_1": 5, "Codes_2": 6}


def test_a_step_7_source_reads_what_was_laid_at_its_offsets(peer: S7Peer, tmp_path: Path) -> None:
    # press.awl, DB4: 0 Mode; 2 Hours (8 Ints); 18 Text (2 + 21 bytes, to 41); 42 Oil, 48 Water (a
    # Real and a bit, filled up to 6); 54.0 Lamp, 54.1 Horn (filled up to 56); 56 Last; 64 Grid (2
    # rows of 3 bytes); 70 Delay; 72 the end
    peer.db(4, 72)
    peer.write(4, 0, b"\xab\xcd" + struct.pack(">8h", *range(-4, 4)))
    peer.write(4, 18, b"\x15\x04idle")
    peer.write(4, 42, struct.pack(">fB", 5.5, 1) + b"\xee" + struct.pack(">fB", 2.25, 0) + b"\xee")
    peer.write(4, 54, b"\x02\xee")
    peer.write(4, 56, bytes.fromhex("9912312359599996"))
    peer.write(4, 64, bytes(range(1, 7)) + b"\x11\x27")  # 127 times 100 ms
    driver = device(tmp_path, convert([FILES / "press.awl"], Options()), port=peer.port)
    read = rows(driver)
    assert read["DB4"] == {
        "Mode": 0xABCD,
        **{f"Hours_{n}": n - 4 for n in range(8)},
        "Text": "idle",
        "Flags_Lamp": False,
        "Flags_Horn": True,
        "Last": "1999-12-31T23:59:59.999",
        **{f"Grid_1_{n}": 1 + n for n in range(3)},
        **{f"Grid_2_{n}": 4 + n for n in range(3)},
        "Delay": 12_700,
    }
    assert read["UDT7.Oil"] == {"Value": 5.5, "Valid": True}
    assert read["UDT7.Water"] == {"Value": 2.25, "Valid": False}


def test_a_register_list_reads_what_libmodbus_holds(tmp_path: Path) -> None:
    with ModbusPeer("tcp", 0) as server:
        server.write("holding", 3000, struct.pack(">Ii", 2301, -1500))
        server.write("holding", 3004, struct.pack(">HxxQ", 4998, 2**40))
        server.write("holding", 3020, b"SN-0042     ")
        server.write("input", 0x0BC8, struct.pack(">h", -55))
        server.write("discrete", 3030, b"\x01")
        made = convert([FILES / "meter.csv"], Options(base=0))
        read = rows(device(tmp_path, made, port=server.port))["meter"]
        assert read == {
            "Voltage_L1_N": pytest.approx(230.1),
            "Active_power": pytest.approx(-1.5),
            "Frequency": pytest.approx(49.98),
            "Energy": 2**40,
            "Temperature": pytest.approx(-5.5),
            "Serial_number": "SN-0042",
            "Alarm": True,
        }
        # the same list, said to count from 1, is one register further down
        server.write("holding", 2999, struct.pack(">I", 4602))
        made = convert([FILES / "meter.csv"], Options(base=1))
        read = rows(device(tmp_path, made, port=server.port))["meter"]
        assert read["Voltage_L1_N"] == pytest.approx(460.2)


def test_modicon_numbers_orders_and_bits_read_what_libmodbus_holds(tmp_path: Path) -> None:
    with ModbusPeer("tcp", 0) as server:
        server.write("holding", 0, b"\x12\x34")
        abcd = struct.pack(">f", 17.25)
        server.write("holding", 1, abcd[2:] + abcd[:2])  # CDAB: the low register first
        server.write("input", 9, struct.pack(">h", 615))
        server.write("holding", 5, b"\x00\x08")  # bit 3
        server.write("coil", 16, b"\x01")
        made = convert([FILES / "drive_modicon.csv"], Options())
        assert rows(device(tmp_path, made, port=server.port))["drive_modicon"] == {
            "Status_word": 0x1234,
            "Output_current": 17.25,
            "Motor_temperature": pytest.approx(61.5),
            "Fault": True,
            "Relay": True,
        }
