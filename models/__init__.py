"""Networks: seeds, heads, search spaces, recipes. torch, and no graph rewriting."""
