"""Models, recorded activations, estimates: the side of the project that may use floats."""
