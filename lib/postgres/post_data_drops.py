"""Takes back what the post-data section made: constraints, indexes, triggers, policies, rules."""

from psycopg import sql

from lib.postgres.database import Connection


def drops(target: Connection, made: set[str]) -> list[sql.Composed]:
    """DROP statements for the objects titled so, in an order in which none needs another.

    What hangs on a partitioned table's own index or constraint goes with that.
    """
    found = []
    for title, kind, schema, table, name, _ in target.execute(_DROPPABLE).fetchall():
        if title not in made:
            continue
        found.append(
            sql.SQL(_STATEMENTS[kind]).format(
                name=sql.Identifier(name),
                table=sql.Identifier(schema, table) if table else sql.SQL(""),
                qualified=sql.Identifier(schema, name) if schema else sql.SQL(""),
            )
        )
    return found


_STATEMENTS = {
    "event trigger": "DROP EVENT TRIGGER IF EXISTS {name}",
    "trigger": "DROP TRIGGER IF EXISTS {name} ON {table}",
    "policy": "DROP POLICY IF EXISTS {name} ON {table}",
    "rule": "DROP RULE IF EXISTS {name} ON {table}",
    "constraint": "ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}",
    "index": "DROP INDEX IF EXISTS {qualified}",
    "statistics": "DROP STATISTICS IF EXISTS {qualified}",
}

_DROPPABLE = """
SELECT 'event trigger ' || evtname, 'event trigger', '', '', evtname, 1 AS place
  FROM pg_event_trigger WHERE oid >= 16384
UNION ALL
SELECT format('trigger %s.%s %s', n.nspname, c.relname, tgname), 'trigger',
       n.nspname, c.relname, tgname, 1
  FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid JOIN pg_namespace n ON n.oid = relnamespace
 WHERE NOT tgisinternal AND tgparentid = 0
UNION ALL
SELECT format('policy %s.%s %s', n.nspname, c.relname, polname), 'policy',
       n.nspname, c.relname, polname, 1
  FROM pg_policy p JOIN pg_class c ON c.oid = polrelid JOIN pg_namespace n ON n.oid = relnamespace
UNION ALL
SELECT format('rule %s.%s %s', n.nspname, c.relname, rulename), 'rule',
       n.nspname, c.relname, rulename, 1
  FROM pg_rewrite r JOIN pg_class c ON c.oid = ev_class JOIN pg_namespace n ON n.oid = relnamespace
 WHERE rulename <> '_RETURN'
UNION ALL
SELECT format('%s %s.%s %s',
              CASE contype WHEN 'f' THEN 'fk constraint' WHEN 'c' THEN 'check constraint'
                   ELSE 'constraint' END, n.nspname, c.relname, conname), 'constraint',
       n.nspname, c.relname, conname, CASE contype WHEN 'f' THEN 2 ELSE 3 END
  FROM pg_constraint o JOIN pg_class c ON c.oid = conrelid
  JOIN pg_namespace n ON n.oid = relnamespace
 WHERE conislocal AND conparentid = 0
UNION ALL
SELECT format('index %s.%s', n.nspname, c.relname), 'index', n.nspname, '', c.relname, 4
  FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
 WHERE relkind IN ('i', 'I') AND NOT relispartition
   AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = c.oid AND contype IN ('p','u','x'))
UNION ALL
-- A kill between the index of a key and the key leaves the index alone.
SELECT format('constraint %s.%s %s', n.nspname, t.relname, c.relname), 'index', n.nspname, '',
       c.relname, 4
  FROM pg_index i JOIN pg_class c ON c.oid = indexrelid JOIN pg_class t ON t.oid = indrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE indisunique AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = c.oid)
UNION ALL
SELECT format('statistics %s.%s', n.nspname, stxname), 'statistics', n.nspname, '', stxname, 4
  FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = stxnamespace
 ORDER BY place
"""
