"""Training of a quantized network: the loop, the images it sees, quantizers with gradients."""
