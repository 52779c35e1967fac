"""Make a network cheaper and put right, from features alone, what that breaks."""
