SELECT create_hypertable('sample', by_range('time_ns', :partition_ns:), create_default_indexes => false);

CREATE FUNCTION sample_now() RETURNS bigint LANGUAGE sql STABLE SET search_path FROM CURRENT AS
$$ SELECT to_ns(now()) $$;
SELECT set_integer_now_func('sample', 'sample_now');
