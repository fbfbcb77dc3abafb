"""What surrounds the core on a board: host link, registers, arbiter of memory."""
