"""Tasks: the loss, the metric and the pictures of each kind of problem."""
