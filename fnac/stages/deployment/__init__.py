"""The files written beside an emitted model, and prediction on your own images."""
