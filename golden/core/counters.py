"""Performance counters of a core: in how many cycles of a run what has happened."""

COUNTERS = {
    "cycles": "cycles of the run",
    "array": "cycles in which the array took operands",
    "weights": "cycles of products in which the feed had no operands for the array",
    "drain": "cycles of products in which the array could not take operands",
    "fetch": "cycles of fetching instructions",
    "transfer": "cycles of LOAD, STORE and PATCHES",
    "norm": "cycles of NORM",
    "softmax": "cycles of SOFTMAX",
    "predict": "cycles of PREDICT",
    "reads": "beats read from external memory",
    "writes": "beats written to external memory",
}
"""Performance counters of a core, and what they count."""

COUNTER_BITS = 40
