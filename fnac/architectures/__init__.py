"""Architectures and their costs: budgets, exact choice, latency; no torch."""
