"""Cut a classifier off, attach a head, set the output stride."""
