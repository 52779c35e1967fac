"""Networks as exporters write them: operator sets x spellings x stages, one file an assumption."""
