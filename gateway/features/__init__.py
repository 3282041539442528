"""Features of vibration: pure functions on arrays, no threads, no files written, no clock.

``table`` says what there is, ``spec`` what of it is asked for, ``engine`` computes it.
"""
