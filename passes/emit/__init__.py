"""What makes a tuned network a deployable file."""
