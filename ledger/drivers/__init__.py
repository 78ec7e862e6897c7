"""Guarded connections to the two database drivers, below stores and engines alike."""
