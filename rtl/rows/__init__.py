"""LayerNorm and softmax, row by row."""
