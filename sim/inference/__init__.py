"""Images classified by a quantized model: what runs it, and what its logits say."""
