"""What surrounds the core on a board: host link and registers."""
