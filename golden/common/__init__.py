"""Formats, rounding, configuration and the tables that every unit shares."""
