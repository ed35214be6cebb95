"""Vector indexes on the target: which, with what parameters, how fast and how right."""
