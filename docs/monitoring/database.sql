-- What to watch inside AlloyDB: psql -h ADDRESS -U postgres orchestra -f docs/monitoring/database.sql
-- Only reads.  A role other than the administrator needs: grant pg_monitor to ROLE.

\echo connections by state, and how many the server allows
select state, count(*) as connections, current_setting('max_connections')::int as allowed
from pg_stat_activity where backend_type = 'client backend' group by state order by state;

\echo open transactions older than a minute (they hold back vacuum and locks)
select pid, usename, application_name, state, now() - xact_start as open_for, left(query, 60) as query
from pg_stat_activity where xact_start < now() - interval '1 minute' order by xact_start;

\echo sessions that wait for a lock, and who holds it
select pid, pg_blocking_pids(pid) as blocked_by, wait_event_type, left(query, 60) as query
from pg_stat_activity where cardinality(pg_blocking_pids(pid)) > 0;

\echo replicas: bytes and time behind (no rows: nothing replicates from here)
select application_name, state, pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) as bytes_behind,
       replay_lag
from pg_stat_replication;

\echo replication slots and the log they keep (a forgotten slot fills the disk)
select slot_name, active, wal_status, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) as bytes_kept
from pg_replication_slots;

\echo vector indexes: size, uses, rows; an invalid one is not used
select i.relid::regclass as table, i.indexrelid::regclass as index, am.amname as method,
       pg_size_pretty(pg_relation_size(i.indexrelid)) as size, i.idx_scan as uses,
       t.n_live_tup as rows, x.indisvalid as valid
from pg_stat_user_indexes i
join pg_stat_user_tables t using (relid)
join pg_class c on c.oid = i.indexrelid
join pg_am am on am.oid = c.relam
join pg_index x on x.indexrelid = i.indexrelid
where am.amname in ('hnsw', 'ivfflat', 'scann')
order by pg_relation_size(i.indexrelid) desc;

\echo vector search as it was tuned (tune again when rows have doubled or recall falls)
select table_name, column_name, parameter, value, recall, recall_target,
       round(p99_ms::numeric, 2) as p99_ms, tuned_at
from orchestra.vector_search_settings order by table_name, column_name;

\echo ten tables with most dead rows, and when they were last vacuumed and analyzed
select relid::regclass as table, n_live_tup as live, n_dead_tup as dead,
       greatest(last_vacuum, last_autovacuum) as vacuumed,
       greatest(last_analyze, last_autoanalyze) as analyzed
from pg_stat_user_tables order by n_dead_tup desc limit 10;

\echo database: size, share of reads answered from memory, deadlocks, age of its oldest transaction id
select pg_size_pretty(pg_database_size(d.oid)) as size,
       round(100.0 * blks_hit / nullif(blks_hit + blks_read, 0), 1) as from_memory_percent,
       deadlocks, temp_bytes, age(datfrozenxid) as transactions_since_freeze
from pg_database d join pg_stat_database s on s.datid = d.oid where d.datname = current_database();

\echo memories whose cache entry waits to be removed (grows only while Redis is away)
select count(*) as waiting from orchestra.kv_cache_repairs;
