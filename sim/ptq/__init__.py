"""Post-training quantization: from a float Vision Transformer to the integers of golden.network."""
