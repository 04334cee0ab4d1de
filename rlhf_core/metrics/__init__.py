"""Figures that gates judge, a module for each: agreement, calibration, KL, diversity. Start in `estimates`."""
