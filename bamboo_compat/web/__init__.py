"""Pages that Bamboo brings to the page of a node: guests of `setsync.web`."""
