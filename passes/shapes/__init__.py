"""Sizes and other integers that a graph computes, known beforehand."""
