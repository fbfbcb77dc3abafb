"""What is around the core on a board: its memory chip, to the cycle."""
