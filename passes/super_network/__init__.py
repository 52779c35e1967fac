"""Candidates mixed under architecture parameters, and the choice among them."""
