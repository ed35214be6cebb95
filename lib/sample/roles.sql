-- Roles of the platform and its database; no role has a password.
CREATE ROLE orchestra_owner NOLOGIN;
CREATE ROLE orchestra_readonly NOLOGIN;
CREATE ROLE orchestra_service LOGIN CONNECTION LIMIT 100;
CREATE ROLE "Data Analyst" LOGIN IN ROLE orchestra_readonly;
COMMENT ON ROLE orchestra_owner IS 'Owns every object of the platform';
CREATE DATABASE orchestra OWNER orchestra_owner;
COMMENT ON DATABASE orchestra IS 'AI Orchestra: agents, their conversations and memories';
ALTER DATABASE orchestra SET search_path = "$user", public;
ALTER ROLE orchestra_service SET statement_timeout = '30s';
