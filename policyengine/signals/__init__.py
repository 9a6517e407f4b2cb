"""Signals: engines, and which signal is in force when."""
