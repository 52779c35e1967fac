"""Build torch modules from the nodes of a graph."""
