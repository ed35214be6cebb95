"""Loads the migration plugin and what is AI Orchestra's own; everything else is theirs."""

pytest_plugins = ["lib.plugin.plugin", "lib.orchestra.fixtures"]
