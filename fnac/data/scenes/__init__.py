"""Built-in synthetic scenes."""
