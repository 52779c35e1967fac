"""Sizes and other integers of a graph that are known before it runs."""
