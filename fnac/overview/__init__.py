"""What can be named, what a setting does, what a data set looks like."""
