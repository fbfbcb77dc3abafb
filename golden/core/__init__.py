"""The core's contract: instructions, programs, what is legal, and the machine that runs them."""
