"""The commands of the command line, by what they work on. Light: click only."""
