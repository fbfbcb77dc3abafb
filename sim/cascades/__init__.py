"""Cascades of two networks: what they answer on images, and their thresholds."""
