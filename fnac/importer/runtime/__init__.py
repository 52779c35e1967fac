"""What an imported network calls when it runs and torch has no single function for.

Every function here is called from generated code, takes tensors and Python numbers, and is plain
enough for torch.compile.
"""
