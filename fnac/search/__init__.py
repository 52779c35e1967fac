"""Architecture search: budgets, path sampling, steering to a budget, the exact final choice."""
