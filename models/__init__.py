"""Networks: seeds, heads, search spaces, recipes. Uses torch, rewrites no graphs."""
