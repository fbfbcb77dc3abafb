"""The host side of a board: its memory and registers over a serial line."""
