-- The historian's file, schema 1. Tables only grow at their end: rows have rising numbers.

-- One table of a device, with its labels (JSON).
CREATE TABLE source (
    id         INTEGER PRIMARY KEY,
    gateway    TEXT,
    device     TEXT NOT NULL,
    table_name TEXT NOT NULL,
    module     TEXT,
    labels     TEXT NOT NULL,
    rolled_to  INTEGER NOT NULL DEFAULT 0,  -- up to this row_time.id its rows are in minutes
    UNIQUE (device, table_name, labels)
);

-- One tag. Its position never changes; another unit or kind makes it another series.
CREATE TABLE series (
    source   INTEGER NOT NULL REFERENCES source (id),
    position INTEGER NOT NULL,
    tag      TEXT NOT NULL,
    unit     TEXT,
    kind     TEXT NOT NULL,
    PRIMARY KEY (source, position)
) WITHOUT ROWID;
CREATE INDEX series_by_tag ON series (tag, source);

-- When a row of a source was read: UTC, ns since 1970.
CREATE TABLE row_time (
    id      INTEGER PRIMARY KEY,
    source  INTEGER NOT NULL,
    time_ns INTEGER NOT NULL
);

-- One value: id = row_time.id * 1000000 + series.position; value NULL where BAD, quality NULL
-- where GOOD. No type for value: numbers and text stay what they are.
CREATE TABLE sample (
    id      INTEGER PRIMARY KEY,
    value,
    quality TEXT
);

-- A minute of a source, and where its rows stand. After a restart or a step of the clock a minute
-- has several lines, each of its own rows.
CREATE TABLE minute_time (
    id        INTEGER PRIMARY KEY,
    source    INTEGER NOT NULL,
    minute    INTEGER NOT NULL,  -- minutes since 1970, UTC
    first_row INTEGER,
    last_row  INTEGER
);
CREATE INDEX minute_by_source ON minute_time (source, minute);

-- What the values of a minute were: id = minute_time.id * 1000000 + series.position.
CREATE TABLE minute_sample (
    id    INTEGER PRIMARY KEY,
    min,
    mean  REAL,
    max,
    count INTEGER NOT NULL,
    bad   INTEGER NOT NULL
);

CREATE TABLE state (
    one                INTEGER PRIMARY KEY CHECK (one = 1),
    next_row           INTEGER NOT NULL,
    samples            INTEGER NOT NULL,
    minute_samples     INTEGER NOT NULL,
    rolled_from        INTEGER NOT NULL,  -- rows before this one are in minutes
    minutes_deleted_to INTEGER NOT NULL,  -- the youngest minute that was deleted
    trusted_ns         INTEGER NOT NULL DEFAULT 0,  -- the time by which age is told
    doubted_ns         INTEGER NOT NULL DEFAULT 0,  -- the clock, where it jumped away from that,
    doubted_for_ns     INTEGER NOT NULL DEFAULT 0   -- and how long it has gone on so
);
INSERT INTO state (one, next_row, samples, minute_samples, rolled_from, minutes_deleted_to)
VALUES (1, 1, 0, 0, 1, 0);

-- For people: every value with its names.
CREATE VIEW history AS
SELECT strftime('%Y-%m-%d %H:%M:%S', r.time_ns / 1000000000, 'unixepoch')
           || printf('.%03d', r.time_ns / 1000000 % 1000) AS time,
       o.device, o.table_name, o.module, s.tag, v.value, s.unit,
       coalesce(v.quality, 'GOOD') AS quality, r.time_ns, s.kind, o.labels
FROM row_time r
CROSS JOIN source o ON o.id = r.source
CROSS JOIN series s ON s.source = r.source
CROSS JOIN sample v ON v.id = r.id * 1000000 + s.position;

CREATE VIEW history_minute AS
SELECT strftime('%Y-%m-%d %H:%M', m.minute * 60, 'unixepoch') AS time,
       o.device, o.table_name, o.module, s.tag, v.min, v.mean, v.max, v.count, v.bad, s.unit,
       m.minute, s.kind, o.labels
FROM minute_time m
CROSS JOIN source o ON o.id = m.source
CROSS JOIN series s ON s.source = m.source
CROSS JOIN minute_sample v ON v.id = m.id * 1000000 + s.position;

CREATE VIEW tags AS
SELECT o.device, o.table_name, o.module, s.tag, s.unit, s.kind, o.labels
FROM source o JOIN series s ON s.source = o.id
ORDER BY o.device, o.table_name, o.module, s.tag;
