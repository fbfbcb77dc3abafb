"""What surrounds the core on a board: memory and its controller, host link, registers."""
