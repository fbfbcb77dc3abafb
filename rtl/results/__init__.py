"""The epilogue behind the array: requantization, bias, residual, GELU, order of results."""
