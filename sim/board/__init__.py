"""The host side of a board: whom it talks to over a serial line."""
