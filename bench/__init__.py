"""Measurements, side by side in one run; `make bench`. They assert nothing."""
