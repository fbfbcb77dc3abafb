"""Matrix products: operand feed, MAC array, and what drains it."""
