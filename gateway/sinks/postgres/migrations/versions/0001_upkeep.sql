CREATE FUNCTION to_time(ns bigint) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT timestamptz 'epoch' + (ns / 1000) * interval '1 microsecond' $$;

CREATE FUNCTION to_ns(moment timestamptz) RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT (extract(epoch FROM moment) * 1000000000)::bigint $$;

-- Writers remember the numbers of series: tell them when one of those is no longer true.
CREATE FUNCTION series_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE layout SET generation = generation + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER series_gone AFTER DELETE OR UPDATE OF kind ON series
    FOR EACH STATEMENT EXECUTE FUNCTION series_changed();
CREATE TRIGGER series_emptied AFTER TRUNCATE ON series
    FOR EACH STATEMENT EXECUTE FUNCTION series_changed();

-- The partition of a time: made if it is not there; rows of it that wait in `sample_other` move in.
-- True where it was made. It runs as the schema's owner, so that whoever writes rows need not be.
CREATE FUNCTION make_partition(at_ns bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    width bigint;
    low bigint;
    name text;
BEGIN
    SELECT partition_ns INTO width FROM layout WHERE kind = 'native';
    IF width IS NULL THEN
        RETURN false;
    END IF;
    low := floor(at_ns::numeric / width)::bigint * width;
    name := 'sample_' || to_char(to_time(low) AT TIME ZONE 'UTC', 'YYYYMMDD_HH24MISS');
    -- two makers at a time would fail; whoever waits finds it made
    PERFORM pg_advisory_xact_lock(hashtext(current_schema()), 1);
    IF to_regclass(quote_ident(current_schema()) || '.' || name) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE sample INCLUDING ALL)', name);
    EXECUTE format(
        'WITH moved AS (DELETE FROM sample_other WHERE time_ns >= %s AND time_ns < %s RETURNING *) '
        'INSERT INTO %I SELECT * FROM moved', low, low + width, name);
    EXECUTE format('ALTER TABLE sample ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
                   name, low, low + width);
    RETURN true;
END $$;

-- What a time is rounded to by `make_partition`, for all partitions that there are.
CREATE VIEW partitions AS
SELECT c.relname AS name, bounds[1]::bigint AS first_ns, bounds[2]::bigint AS end_ns,
       to_time(bounds[1]::bigint) AS first_time, to_time(bounds[2]::bigint) AS end_time,
       pg_total_relation_size(c.oid) AS bytes
FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid
CROSS JOIN LATERAL regexp_match(
    pg_get_expr(c.relpartbound, c.oid), 'FROM \(''?(-?\d+)''?\) TO \(''?(-?\d+)''?\)') AS bounds
WHERE i.inhparent = 'sample'::regclass AND bounds IS NOT NULL;

-- Drop what is wholly before a time; the names of what went.
CREATE FUNCTION drop_before(limit_ns bigint) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    gone text;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM layout WHERE kind = 'native') THEN
        RETURN QUERY EXECUTE format('SELECT drop_chunks(%L::regclass, older_than => %s)::text',
                                    current_schema() || '.sample', limit_ns);
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext(current_schema()), 1);
    FOR gone IN SELECT p.name FROM partitions AS p WHERE p.end_ns <= limit_ns ORDER BY p.first_ns LOOP
        EXECUTE format('DROP TABLE %I', gone);
        RETURN NEXT gone;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION make_partition, drop_before FROM PUBLIC;
