"""Augmentation and resizing, by what a sample holds."""
