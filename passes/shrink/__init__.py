"""Make a network cheaper and repair the damage, from features alone."""
