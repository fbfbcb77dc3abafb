"""What surrounds the core on a board: memory controller, host link, registers."""
