"""Faults injected into real climbs of the tiny configuration: `python -m benchmarks.faults`. Start in `trials`."""
