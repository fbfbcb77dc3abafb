"""What the self-test of a bitstream feeds its units with, and must get."""
