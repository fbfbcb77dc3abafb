"""What is around the core on a board: the controller of its memory chip."""
