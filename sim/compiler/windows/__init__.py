"""Networks of patches alone, whose attention is within windows, as instructions."""
