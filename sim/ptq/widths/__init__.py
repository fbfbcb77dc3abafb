"""Widths of layers, chosen for a share of the cycles."""
