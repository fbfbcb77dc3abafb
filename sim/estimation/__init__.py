"""Cycles, bytes and energy, and how they are shown."""
