-- The things that break migrations, each small.
SET ROLE orchestra_owner;
SET search_path = edge, public;

-- identifiers
CREATE TYPE "Über Mood" AS ENUM ('so-so', 'It''s "fine"', 'ÄÖÜ');
CREATE TABLE "Order Items" (
    "Item ID" integer GENERATED ALWAYS AS IDENTITY (START WITH 1000 INCREMENT BY 7) PRIMARY KEY,
    "select" text NOT NULL,
    "say ""hi""" text,
    "Preis in €" numeric(10, 2),
    mood "Über Mood" DEFAULT 'It''s "fine"'
);
INSERT INTO "Order Items" ("select", "say ""hi""", "Preis in €", mood) VALUES
    ('from', 'x', 1.50, 'so-so'), ('where', NULL, 0.00, 'ÄÖÜ'), ('', '''', -1.25, DEFAULT);
CREATE INDEX "Index ""on"" Items" ON "Order Items" ("Preis in €", "select");

-- sequences with positions of their own
CREATE SEQUENCE ticket_numbers AS integer START 500 INCREMENT 5 MINVALUE 100 MAXVALUE 90000 CACHE 10 CYCLE;
SELECT setval('ticket_numbers', 1235, true);
CREATE SEQUENCE untouched;
CREATE SEQUENCE countdown INCREMENT -1 MAXVALUE 1000 MINVALUE -1000 START 1000;
SELECT setval('countdown', 42, false);
CREATE TABLE numbered (id serial PRIMARY KEY, ticket integer DEFAULT nextval('ticket_numbers'));
INSERT INTO numbered (id, ticket) VALUES (1, 1), (2, 2);
SELECT setval('numbered_id_seq', 900001);

-- values
CREATE TABLE extremes (
    id integer PRIMARY KEY,
    real_number real,
    double_number double precision,
    exact numeric,
    day date,
    moment timestamp,
    instant timestamptz,
    span interval,
    bytes bytea,
    words text,
    document json,
    address inet,
    bits bit varying(12),
    grid integer[][],
    period tstzrange,
    flag boolean
);
INSERT INTO extremes VALUES
    (1, 'NaN', 'NaN', 'NaN', 'infinity', 'infinity', 'infinity', '-178000000 years',
     '\x00ff0000', E'tab\there, new\nline, \\N and \\.', '{"a": 1, "a": 2,  "b":[]}',
     '2001:db8::1/64', B'0101', '{{1,2},{3,NULL}}', '[2026-01-01,)', true),
    (2, 'Infinity', '-Infinity', 'Infinity', '-infinity', '-infinity', '-infinity', '1 mon -1 day',
     '\x', '', 'null', '10.0.0.1', B'', '{}', 'empty', false),
    (3, '-0', '1e-307', -12345678901234567890.000000000000000000001,
     '0044-03-15 BC', '4713-01-01 00:00:00 BC', '0001-01-01 00:00:00+00 BC', '00:00:00.000001',
     decode(repeat('00', 4096), 'hex'), '👩‍🚀 naïve 日本語 🇺🇳 مرحبا', '"\u00e9"',
     '192.168.0.0/16', B'111111111111', '[-1:0][2:3]={{1,2},{3,4}}', '(,)', NULL),
    (4, 3.4028235e38, 1.7976931348623157e308, 1e1000, '5874897-12-31',
     '294276-12-31 23:59:59.999999', '2026-03-29 01:30:00+01', '178000000 years',
     '\xdeadbeef00', repeat('long ', 40000), '[]', '::', NULL, NULL, NULL, NULL);

-- tables of unusual shape
CREATE TABLE empty (id integer PRIMARY KEY, value text);
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE without_key (happened timestamptz, what text);
INSERT INTO without_key SELECT '2026-01-01+00'::timestamptz + n % 3 * interval '1 day', 'twice'
    FROM generate_series(1, 300) n;
CREATE TABLE dropped_column (id integer PRIMARY KEY, gone text, kept text DEFAULT 'added later');
ALTER TABLE dropped_column DROP COLUMN gone;
INSERT INTO dropped_column VALUES (1, 'one'), (2, DEFAULT);
CREATE TABLE base (id integer PRIMARY KEY, name text);
CREATE TABLE heir (extra text) INHERITS (base);
INSERT INTO base VALUES (1, 'parent');
INSERT INTO heir VALUES (2, 'child', 'more');
CREATE TYPE place AS (latitude double precision, longitude double precision);
CREATE TABLE places (id integer PRIMARY KEY, at place, seen place[]);
INSERT INTO places VALUES (1, (52.5, 13.4), ARRAY[(0, 0)::place, NULL]), (2, NULL, '{}');
CREATE UNLOGGED TABLE scratch (id integer PRIMARY KEY);
INSERT INTO scratch VALUES (1);

-- constraints
CREATE TABLE bookings (
    id integer PRIMARY KEY,
    room text NOT NULL,
    during tstzrange NOT NULL,
    EXCLUDE USING gist (room WITH =, during WITH &&)
);
INSERT INTO bookings VALUES
    (1, 'blue', '[2026-01-01 09:00+00,2026-01-01 10:00+00)'),
    (2, 'blue', '[2026-01-01 10:00+00,2026-01-01 11:00+00)');
CREATE TABLE ranks (
    id integer PRIMARY KEY,
    rank integer NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT positive CHECK (rank > 0) NOT VALID
);
INSERT INTO ranks VALUES (1, 2), (2, 1);
CREATE TABLE teams (id integer PRIMARY KEY, lead_id integer NOT NULL);
CREATE TABLE persons (id integer PRIMARY KEY, team_id integer NOT NULL REFERENCES teams
    DEFERRABLE INITIALLY IMMEDIATE, mentor_id integer REFERENCES persons);
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO teams VALUES (1, 11), (2, 12);
INSERT INTO persons VALUES (11, 1, 12), (12, 2, 11);
COMMIT;
ALTER TABLE teams ADD FOREIGN KEY (lead_id) REFERENCES persons DEFERRABLE INITIALLY DEFERRED;
CREATE TABLE tenants (id integer PRIMARY KEY, owner text NOT NULL);
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON tenants TO orchestra_service USING (owner = current_user);
INSERT INTO tenants VALUES (1, 'orchestra_service'), (2, 'somebody else');

-- views on views, a procedure, an aggregate
CREATE VIEW "Open Bookings" AS SELECT * FROM bookings WHERE upper(during) > '2026-01-01';
CREATE VIEW rooms AS SELECT DISTINCT room FROM "Open Bookings";
CREATE MATERIALIZED VIEW unfilled AS SELECT count(*) FROM bookings WITH NO DATA;
CREATE PROCEDURE forget(integer) LANGUAGE sql AS 'DELETE FROM edge.empty WHERE id = $1';
CREATE AGGREGATE product(double precision) (SFUNC = float8mul, STYPE = double precision, INITCOND = '1');

-- large objects; one has no row that names it
CREATE TABLE attachments (id integer PRIMARY KEY, content oid NOT NULL);
INSERT INTO attachments VALUES
    (1, lo_from_bytea(70001, decode(repeat('00ff10', 100000), 'hex'))),
    (2, lo_from_bytea(70002, '\x'));
SELECT lo_from_bytea(70003, 'orphan');
COMMENT ON LARGE OBJECT 70001 IS 'Three hundred thousand bytes';
GRANT SELECT ON LARGE OBJECT 70001 TO orchestra_readonly;
GRANT SELECT ON ALL TABLES IN SCHEMA edge TO orchestra_readonly;
RESET search_path;
