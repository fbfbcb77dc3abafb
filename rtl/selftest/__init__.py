"""A design that tests its own units and reports over a serial line."""
