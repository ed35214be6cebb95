-- A few rows for each table of the sample, before its indexes and foreign keys.
SET ROLE orchestra_owner;
INSERT INTO agents (name, contact, status, tags)
    SELECT 'agent ' || n, 'agent' || n || '@example.com', 'active', ARRAY['a', NULL, '"q"']
      FROM generate_series(1, 50) n;
INSERT INTO conversations (agent_id, title, started_at, closed_at)
    SELECT n % 50 + 1, 'talk 🤖 ' || n, '2026-01-01'::timestamptz + n * interval '1 hour',
           '2026-02-01'::timestamptz + n * interval '61 minutes' FROM generate_series(1, 200) n;
INSERT INTO messages (conversation_id, role, content, tokens, created_at)
    SELECT n % 200 + 1, 'user', repeat('word ' || n, 9), n,
           '2025-10-15'::timestamptz + n * interval '5 hours' FROM generate_series(1, 2000) n;
INSERT INTO short_memories (agent_id, content, embedding, created_at)
    SELECT n % 50 + 1, 'memory ' || n,
           (SELECT array_agg(sin(n * 384 + d)) FROM generate_series(1, 384) d)::vector, now()
      FROM generate_series(1, 400) n;
INSERT INTO intents SELECT n, 'phrase ' || n,
           (SELECT array_agg(cos(n * 384 + d)) FROM generate_series(1, 384) d)::vector
      FROM generate_series(1, 20) n;
