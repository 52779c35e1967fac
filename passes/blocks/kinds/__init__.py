"""One kind of block per file, and the patterns that match it."""
