"""Training of a quantized network: the loop, the images it sees, and kernels of its quantizers."""
