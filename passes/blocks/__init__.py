"""The blocks and stages of a network, found by pattern."""
