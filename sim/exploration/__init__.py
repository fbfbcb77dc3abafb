"""Exploration of a design space: every configuration of a grid, its cycles, energy and area."""
