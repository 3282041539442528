"""Features of stored waveforms: many files, in many processes, by the code of the edge."""
