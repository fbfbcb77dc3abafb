"""External memory, scratchpad, and what moves words between them."""
