"""Passes that change depth, width, kernels and groups."""
