"""Checks of a phase's tables: which numbers they need, and what the numbers mean."""
