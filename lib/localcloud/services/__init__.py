"""One module per Google API, each over the generic core of ``lib.localcloud``."""
