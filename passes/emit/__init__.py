"""Passes that turn a tuned network into a deployable file."""
