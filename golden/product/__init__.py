"""Matrix products: the array's arithmetic, tiles, and operands packed into multipliers."""
