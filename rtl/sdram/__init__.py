"""External memory of SDR SDRAM chips: their controller, and a model of the chips."""
