"""What `setsync bamboo` runs; the only room of this package that prints."""
