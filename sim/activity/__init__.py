"""What toggles in the RTL, by unit and instruction: how active real operands are."""
