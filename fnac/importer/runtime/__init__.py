"""Functions that imported networks call and torch does not have.

Every function here is called from generated code, takes tensors and Python numbers, and is plain
enough for torch.compile.
"""
