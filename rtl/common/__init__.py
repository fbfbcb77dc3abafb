"""Operand shapes, multipliers and function tables that several units use."""
