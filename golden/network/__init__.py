"""A quantized Vision Transformer in integers, and its inference."""
