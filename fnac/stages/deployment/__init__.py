"""What stands beside an emitted file, and what it says of images of one's own."""
