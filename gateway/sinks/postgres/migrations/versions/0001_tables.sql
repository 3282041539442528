-- one row: how `sample` is cut in pieces by time
CREATE TABLE layout (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    kind text NOT NULL CHECK (kind IN ('native', 'timescale')),
    partition_ns bigint NOT NULL CHECK (partition_ns > 0),
    generation bigint NOT NULL DEFAULT 0 -- rises when a series goes or changes: writers look again
);

-- one table of one device, with its labels
CREATE TABLE source (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest bytea NOT NULL UNIQUE,       -- of table_name and labels: they may be too long for an index
    table_name text NOT NULL,
    gateway text,
    device text NOT NULL,
    module text,
    channel text,
    labels jsonb NOT NULL,
    interval_s double precision,
    last_ns bigint                      -- newest row, to a few seconds
);
CREATE INDEX source_device ON source (gateway, device);

-- one column of a source: a tag, or a feature of a channel
CREATE TABLE series (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_id integer NOT NULL REFERENCES source ON DELETE CASCADE,
    tag text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('float', 'integer', 'bool', 'text')),
    unit text,
    UNIQUE (source_id, tag)
);

-- what is not GOOD, and why
CREATE TABLE quality (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    severity text NOT NULL,
    reason text NOT NULL,
    UNIQUE (severity, reason)
);

-- the values: one line each; which column holds it is said by the series' kind.
-- No foreign keys: checking them would halve what can be written.
CREATE TABLE sample (
    time_ns bigint NOT NULL,            -- UTC, ns since 1970
    f8 double precision,
    i8 bigint,
    series_id integer NOT NULL,
    quality_id integer,                 -- NULL: GOOD
    b1 boolean,
    u8 numeric,                         -- an integer above 9223372036854775807
    str text,
    PRIMARY KEY (series_id, time_ns)
) :partitioned:;

CREATE TABLE gateway_alarm (
    source_id integer NOT NULL REFERENCES source ON DELETE CASCADE,
    time_ns bigint NOT NULL,
    alarm text, severity text, from_state text, state text, condition text, message text,
    unit text, who text, why text,
    value double precision, "limit" double precision, first_out boolean, number bigint,
    more jsonb,                         -- columns that this schema does not know
    PRIMARY KEY (source_id, time_ns)
);
CREATE INDEX gateway_alarm_newest ON gateway_alarm (source_id, alarm, time_ns DESC);

CREATE TABLE gateway_loss (
    source_id integer NOT NULL REFERENCES source ON DELETE CASCADE,
    time_ns bigint NOT NULL,
    sink text, device_lost text, table_lost text, first_ns bigint, last_ns bigint, rows bigint,
    cause text, detail text,
    more jsonb,
    PRIMARY KEY (source_id, time_ns)
);

CREATE TABLE gateway_event (
    source_id integer NOT NULL REFERENCES source ON DELETE CASCADE,
    time_ns bigint NOT NULL,
    event text, about text, detail text,
    more jsonb,
    PRIMARY KEY (source_id, time_ns)
);

CREATE TABLE gateway_audit (
    source_id integer NOT NULL REFERENCES source ON DELETE CASCADE,
    time_ns bigint NOT NULL,
    who text, via text, peer text, action text, about text, why text, ok boolean, error text,
    more jsonb,
    PRIMARY KEY (source_id, time_ns)
);

-- raw waveforms, where `gateway db windows` was told to keep them
CREATE TABLE raw_window (
    gateway text NOT NULL,
    device text NOT NULL,
    channel text NOT NULL,
    t0_ns bigint NOT NULL,              -- time of the first sample
    rate_hz double precision NOT NULL,
    samples integer NOT NULL,
    unit text,
    data bytea NOT NULL,                -- float32, little endian
    PRIMARY KEY (gateway, device, channel, t0_ns)
);
ALTER TABLE raw_window ALTER COLUMN data SET STORAGE EXTERNAL;
