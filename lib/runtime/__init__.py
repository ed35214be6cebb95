"""Real servers on this machine, from wheels: PostgreSQL with pgvector, and Valkey."""
