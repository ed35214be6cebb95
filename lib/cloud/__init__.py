"""Google Cloud by its official clients: a converging resource per kind, errors with remedies."""
