"""What works on whole rows: LayerNorm and softmax."""
