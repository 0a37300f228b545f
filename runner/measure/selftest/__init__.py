"""Servers whose answers are known in advance, measured by the real engine: the validation table, see `rows.py`."""
