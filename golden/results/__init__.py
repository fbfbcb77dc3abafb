"""What becomes of accumulators: requantization and GELU."""
