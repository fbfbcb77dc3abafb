"""The whole core: sequencer, scales, and the paths between the units."""
