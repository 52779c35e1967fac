"""Blocks, as they are found in a network."""
