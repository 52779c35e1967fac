"""One kind of block a file, and the patterns that match it."""
