"""Activations of real models, recorded for the simulations."""
