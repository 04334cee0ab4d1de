"""Measurements that gates judge: agreement, calibration, drift, preference."""
