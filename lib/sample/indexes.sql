-- What comes after the data: indexes, foreign keys, views, triggers, grants, comments.
SET ROLE orchestra_owner;
CREATE UNIQUE INDEX agents_name_lower ON agents (lower(name));
CREATE INDEX agents_active ON agents (created_at) WHERE status = 'active';
CREATE INDEX agents_tags ON agents USING gin (tags);
CREATE INDEX conversations_by_agent ON conversations (agent_id, started_at DESC) INCLUDE (title);
CREATE INDEX conversations_open ON conversations (agent_id) WHERE closed_at IS NULL;
CREATE INDEX messages_by_conversation ON messages (conversation_id, created_at);
CREATE INDEX messages_by_time ON messages USING brin (created_at);
CREATE INDEX tool_calls_arguments ON tool_calls USING gin (arguments jsonb_path_ops);
CREATE INDEX tool_calls_city ON tool_calls ((arguments ->> 'city')) WHERE succeeded;
CREATE INDEX tool_calls_by_message ON tool_calls (message_id, message_created_at);
CREATE INDEX documents_search ON documents USING gin (search);
CREATE INDEX documents_title ON documents USING gin (title gin_trgm_ops);
CREATE INDEX document_chunks_search ON document_chunks USING gin (search);
CREATE INDEX memories_by_agent ON memories (agent_id, created_at);
CREATE INDEX short_memories_by_agent ON short_memories (agent_id);
CREATE INDEX short_memories_expiry ON short_memories (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX intents_embedding ON intents USING hnsw (embedding vector_cosine_ops)
    WITH (m = 8, ef_construction = 32);

ALTER TABLE conversations ADD FOREIGN KEY (agent_id) REFERENCES agents ON DELETE CASCADE;
ALTER TABLE messages ADD FOREIGN KEY (conversation_id) REFERENCES conversations ON DELETE CASCADE;
ALTER TABLE tool_calls ADD FOREIGN KEY (message_id, message_created_at)
    REFERENCES messages (id, created_at) ON DELETE CASCADE;
ALTER TABLE document_chunks ADD FOREIGN KEY (document_id) REFERENCES documents ON DELETE CASCADE;
ALTER TABLE memories ADD FOREIGN KEY (agent_id) REFERENCES agents;
ALTER TABLE short_memories ADD FOREIGN KEY (agent_id) REFERENCES agents;
ALTER TABLE analytics.usage ADD FOREIGN KEY (agent_id) REFERENCES agents;

CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;
CREATE TRIGGER agents_touch BEFORE UPDATE ON agents
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE FUNCTION index_document() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.search := setweight(to_tsvector('english', NEW.title), 'A')
        || setweight(to_tsvector('english', NEW.body), 'D');
    RETURN NEW;
END
$$;
CREATE TRIGGER documents_index BEFORE INSERT OR UPDATE OF title, body ON documents
    FOR EACH ROW EXECUTE FUNCTION index_document();
CREATE FUNCTION similar_memories(query vector(1536), wanted integer DEFAULT 10)
    RETURNS TABLE (id bigint, content text, distance double precision)
    LANGUAGE sql STABLE AS $$
    SELECT m.id, m.content, m.embedding <=> query FROM memories m
    ORDER BY m.embedding <=> query LIMIT wanted
$$;

CREATE VIEW active_agents AS
    SELECT id, name, contact, tags FROM agents WHERE status = 'active'
    WITH CHECK OPTION;
INSERT INTO analytics.usage
    SELECT (m.created_at AT TIME ZONE 'UTC')::date, c.agent_id, sum(m.tokens),
        sum(m.tokens) * 0.000002
    FROM messages m JOIN conversations c ON c.id = m.conversation_id GROUP BY 1, 2;
CREATE MATERIALIZED VIEW analytics.daily_usage AS
    SELECT day, count(*) AS agents, sum(tokens) AS tokens, sum(cost) AS cost
    FROM analytics.usage GROUP BY day;
CREATE UNIQUE INDEX daily_usage_day ON analytics.daily_usage (day);

COMMENT ON TABLE agents IS 'Who works: one row for each agent 🤖';
COMMENT ON COLUMN agents.temperature IS 'Sampling temperature, 0 to 1; it''s "low" below 0.3';
COMMENT ON INDEX tool_calls_arguments IS 'Finds calls by their arguments';
COMMENT ON FUNCTION touch_updated_at() IS 'Keeps updated_at true';
COMMENT ON TYPE agent_status IS 'Life of an agent';
COMMENT ON SCHEMA edge IS 'What breaks migrations';

GRANT USAGE ON SCHEMA public, analytics, edge TO orchestra_readonly, orchestra_service;
GRANT SELECT ON ALL TABLES IN SCHEMA public, analytics TO orchestra_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO orchestra_service;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO orchestra_service;
GRANT SELECT (day, tokens) ON analytics.daily_usage TO PUBLIC;
REVOKE EXECUTE ON FUNCTION similar_memories(vector, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION similar_memories(vector, integer) TO orchestra_service;
GRANT UPDATE (cursor, position) ON sync_state TO "Data Analyst" WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES IN SCHEMA analytics GRANT SELECT ON TABLES TO orchestra_readonly;
