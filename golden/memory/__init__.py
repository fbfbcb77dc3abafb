"""How matrices lie in the scratchpad."""
