"""Scale prediction: robust ranges, the polynomial, its evaluation."""
