"""The pytest plugin that turns tests into migration steps; ``lib.plugin.plugin`` is its door."""
