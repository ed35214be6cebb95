"""A deterministic AI Orchestra to migrate, for when no source is configured."""
