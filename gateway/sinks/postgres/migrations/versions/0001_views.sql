CREATE VIEW tags AS
SELECT s.id AS series_id, o.id AS source_id, o.gateway, o.device, o.table_name, o.module, o.channel,
       s.tag, s.unit, s.kind, o.labels, o.interval_s
FROM series AS s JOIN source AS o ON o.id = s.source_id;

-- every value; `number` is what a chart draws
CREATE VIEW history AS
SELECT to_time(v.time_ns) AS time, v.time_ns, t.gateway, t.device, t.table_name, t.module, t.channel,
       t.tag, t.unit,
       coalesce(v.f8, v.i8::double precision, v.u8::double precision, v.b1::integer::double precision)
           AS number,
       coalesce(v.str, v.f8::text, v.i8::text, v.u8::text, v.b1::text) AS text,
       CASE WHEN v.quality_id IS NULL THEN 'GOOD' ELSE q.severity END AS quality, q.reason,
       v.series_id
FROM sample AS v
JOIN tags AS t ON t.series_id = v.series_id
LEFT JOIN quality AS q ON q.id = v.quality_id;

-- the newest value of every tag
CREATE VIEW latest AS
SELECT to_time(v.time_ns) AS time, v.time_ns, t.gateway, t.device, t.table_name, t.module, t.channel,
       t.tag, t.unit,
       coalesce(v.f8, v.i8::double precision, v.u8::double precision, v.b1::integer::double precision)
           AS number,
       coalesce(v.str, v.f8::text, v.i8::text, v.u8::text, v.b1::text) AS text,
       CASE WHEN v.quality_id IS NULL THEN 'GOOD' ELSE q.severity END AS quality, q.reason,
       t.series_id
FROM tags AS t
CROSS JOIN LATERAL (
    SELECT * FROM sample AS p WHERE p.series_id = t.series_id ORDER BY p.time_ns DESC LIMIT 1
) AS v
LEFT JOIN quality AS q ON q.id = v.quality_id;

-- the newest features of every streamed channel
CREATE VIEW latest_features AS
SELECT time, time_ns, gateway, device, channel, table_name, tag AS feature, number AS value, unit,
       quality, reason
FROM latest WHERE channel IS NOT NULL;

-- the last transition of every alarm that is not back to normal
CREATE VIEW active_alarms AS
SELECT to_time(a.time_ns) AS time, a.time_ns, o.gateway, o.device, a.alarm, a.severity, a.state,
       a.message, a.value, a."limit", a.unit, a.who, a.why, a.first_out
FROM (
    SELECT DISTINCT ON (source_id, alarm) * FROM gateway_alarm
    ORDER BY source_id, alarm, time_ns DESC
) AS a
JOIN source AS o ON o.id = a.source_id
WHERE a.state <> 'normal';

CREATE VIEW device_status AS
SELECT o.gateway, o.device, to_time(max(o.last_ns)) AS last_row,
       round(extract(epoch FROM now() - to_time(max(o.last_ns))), 1) AS silent_s,
       min(o.interval_s) AS interval_s,
       (SELECT count(*) FROM series AS s JOIN source AS p ON p.id = s.source_id
        WHERE p.gateway IS NOT DISTINCT FROM o.gateway AND p.device = o.device) AS tags,
       (SELECT count(*) FROM active_alarms AS a
        WHERE a.gateway IS NOT DISTINCT FROM o.gateway AND a.device = o.device) AS active_alarms,
       (SELECT coalesce(sum(l.rows), 0) FROM gateway_loss AS l JOIN source AS p ON p.id = l.source_id
        WHERE p.gateway IS NOT DISTINCT FROM o.gateway AND l.device_lost = o.device
          AND l.time_ns > to_ns(now() - interval '1 day')) AS rows_lost_1d
FROM source AS o
WHERE o.table_name NOT LIKE 'gateway\_%'
GROUP BY o.gateway, o.device;
