"""Cycles of the core, as the RTL takes them."""
