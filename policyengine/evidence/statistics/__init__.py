"""The statistics of the gate, on plain arrays: NumPy alone, no file, no clock."""
