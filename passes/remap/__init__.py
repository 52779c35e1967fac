"""Rules that remap weights, on arrays; no graph is known here."""
