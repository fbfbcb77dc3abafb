"""What the FPGA tools report, and files written whole."""
