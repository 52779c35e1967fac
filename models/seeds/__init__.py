"""Seed networks: their descriptions, weights and names."""
