"""Rules that remap weights, on arrays; independent of graphs."""
