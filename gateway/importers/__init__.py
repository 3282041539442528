"""Device maps from what other tools export: TIA Portal, STEP 7, register lists of Modbus devices.

Nothing here opens a connection. `gateway.importers.convert` is the way in.
"""
