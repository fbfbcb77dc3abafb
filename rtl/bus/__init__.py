"""The core at standard buses: AXI4, AXI4-Lite and Wishbone."""
