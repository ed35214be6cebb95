"""The embedded Google Cloud: one server process that answers Google's own clients on loopback."""
