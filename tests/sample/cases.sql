-- What breaks migrations: each query gives a number above 0 only if the case is there.

-- enum
SELECT count(*) FROM pg_type WHERE typtype = 'e';

-- domain
SELECT count(*) FROM pg_type WHERE typtype = 'd' AND typnamespace = 'public'::regnamespace;

-- identity always
SELECT count(*) FROM pg_attribute WHERE attidentity = 'a';

-- identity by default
SELECT count(*) FROM pg_attribute WHERE attidentity = 'd';

-- serial
SELECT count(*) FROM information_schema.columns WHERE column_default ~ 'conversations_id_seq';

-- sequence ahead of its column
SELECT count(*) FROM pg_sequences, (SELECT max(id) FROM messages)
    WHERE sequencename = 'messages_id_seq' AND last_value = max + 5000000000;

-- sequence never called
SELECT count(*) FROM pg_sequences WHERE last_value IS NULL AND sequencename = 'untouched';

-- sequence with a step
SELECT count(*) FROM pg_sequences WHERE increment_by NOT IN (1) AND cycle;

-- generated column
SELECT count(*) FROM pg_attribute WHERE attgenerated = 's';

-- view
SELECT count(*) FROM pg_views WHERE schemaname = 'public' AND viewname = 'active_agents';

-- materialised view, filled
SELECT count(*) FROM analytics.daily_usage;

-- materialised view, unfilled
SELECT count(*) FROM pg_matviews WHERE NOT ispopulated;

-- trigger with its function
SELECT count(*) FROM pg_trigger JOIN pg_proc p ON p.oid = tgfoid WHERE NOT tgisinternal AND proname = 'touch_updated_at';

-- GIN on jsonb
SELECT count(*) FROM pg_indexes WHERE indexdef ~ 'gin \(arguments jsonb_path_ops';

-- tsvector
SELECT count(*) FROM documents WHERE search IS NOT NULL;

-- partial index
SELECT count(*) FROM pg_index WHERE indpred IS NOT NULL;

-- expression index
SELECT count(*) FROM pg_index WHERE indexprs IS NOT NULL;

-- exclusion constraint
SELECT count(*) FROM pg_constraint WHERE contype = 'x';

-- deferred unique constraint
SELECT count(*) FROM pg_constraint WHERE contype = 'u' AND condeferred;

-- deferred foreign key
SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND condeferred;

-- cycle of foreign keys
SELECT count(*) FROM pg_constraint a JOIN pg_constraint b
    ON a.conrelid = b.confrelid AND a.confrelid = b.conrelid AND a.conrelid <> b.conrelid
    WHERE a.contype = 'f' AND b.contype = 'f';

-- table without a key
SELECT count(*) - count(DISTINCT w) FROM edge.without_key w;

-- identifiers
SELECT count(*) FROM pg_attribute WHERE attname = 'say "hi"' AND attrelid = 'edge."Order Items"'::regclass;

-- empty table
SELECT 1 - count(*) FROM edge.empty;

-- NaN
SELECT count(*) FROM edge.extremes WHERE double_number = 'NaN' AND exact = 'NaN';

-- infinity
SELECT count(*) FROM edge.extremes WHERE day = 'infinity' AND instant = 'infinity';

-- BC dates
SELECT count(*) FROM edge.extremes WHERE day = '0044-03-15 BC';

-- NULs in bytea
SELECT count(*) FROM edge.extremes WHERE position('\x00'::bytea IN bytes) > 0;

-- emoji
SELECT count(*) FROM messages WHERE content ~ '🚀';

-- comment
SELECT count(*) FROM pg_description WHERE description ~ '🤖';

-- roles
SELECT count(*) FROM pg_roles WHERE rolname IN ('orchestra_owner', 'Data Analyst');

-- membership
SELECT count(*) FROM pg_auth_members WHERE member = '"Data Analyst"'::regrole;

-- grants
SELECT count(*) FROM information_schema.table_privileges WHERE grantee = 'orchestra_service';

-- column grants
SELECT count(*) FROM pg_attribute WHERE attacl IS NOT NULL;

-- large object
SELECT count(*) FROM pg_largeobject WHERE loid = 70001;

-- row security
SELECT count(*) FROM pg_policies;

-- source's own vector index
SELECT count(*) FROM pg_indexes WHERE indexdef ~ 'USING hnsw';

-- partitions by month
SELECT count(*) FROM pg_inherits WHERE inhparent = 'messages'::regclass HAVING count(*) > 12;

-- rows in the default partition
SELECT count(*) FROM messages_default;

-- jsonb
SELECT count(*) FROM tool_calls WHERE arguments @> '{"city": "Zürich"}';

-- vector(384)
SELECT count(*) FROM short_memories WHERE vector_dims(embedding) = 384;

-- vector(768)
SELECT count(*) FROM document_chunks WHERE vector_dims(embedding) = 768;

-- vector(1536)
SELECT count(*) FROM memories WHERE vector_dims(embedding) = 1536;

-- sync state
SELECT count(*) FROM sync_state WHERE cursor IS NULL;

-- more schemas
SELECT count(*) FROM pg_namespace WHERE nspname IN ('analytics', 'edge') HAVING count(*) = 2;

-- its own owner
SELECT count(*) FROM pg_class WHERE relname = 'memories' AND relowner = 'orchestra_owner'::regrole;
