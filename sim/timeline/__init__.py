"""When the units of a core are at work in a run, and what lies in its scratchpad then."""
