"""External memory of SDR SDRAM chips: what they and their controller do, to the cycle."""
