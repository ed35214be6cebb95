"""The agent API and its MCP server: what Cloud Run deploys; ``python -m lib.api`` serves it."""
