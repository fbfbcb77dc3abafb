"""Runs in a Python that has ZigZag, for :mod:`benchmarks.estimator_tools`; imports nothing of ours.

    PYTHON zigzag_layers.py FOLDER

``layers.json`` in the folder is a list of layers, each with the names of files beside it that
ZigZag takes. ``cycles.json`` gets what ZigZag says of the mapping with the lowest latency.
"""

import json
import logging
import os
import sys
from importlib import metadata


def main() -> None:
    """Evaluate the layers."""
    from zigzag.api import get_hardware_performance_zigzag

    logging.disable(logging.CRITICAL)
    os.chdir(sys.argv[1])
    with open("layers.json") as file:
        layers = json.load(file)
    results = []
    for layer in layers:
        _, cycles, evaluations = get_hardware_performance_zigzag(
            layer["workload"], layer["accelerator"], layer["mapping"], opt="latency",
            dump_folder="dump", loma_show_progress_bar=False)
        found = evaluations[0][1][0][0]
        results.append({
            "cycles": round(cycles), "computing": round(found.ideal_temporal_cycle),
            "stalls": round(found.stall_slack_comb), "loading": round(found.data_onloading_cycle),
            "storing": round(found.data_offloading_cycle), "mapping": str(found.temporal_mapping)})
    with open("cycles.json", "w") as file:
        json.dump({"version": metadata.version("zigzag-dse"), "layers": results}, file)


if __name__ == "__main__":
    main()
