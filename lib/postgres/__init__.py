"""PostgreSQL to AlloyDB: schema, roles, rows, verification, as actions of the engine."""
