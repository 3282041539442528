DROP VIEW device_status, active_alarms, latest_features, latest, history, tags, partitions;
DROP FUNCTION make_partition, drop_before;
DROP TABLE sample; -- TimescaleDB drops a hypertable only alone
DROP TABLE raw_window, gateway_audit, gateway_event, gateway_loss, gateway_alarm, quality,
    series, source, layout;
DROP FUNCTION IF EXISTS sample_now;
DROP FUNCTION series_changed;
DROP FUNCTION to_time, to_ns;
