"""The RTL under Verilator, held against the golden machine."""
