-- Seconds from arrival to the end of processing, each hour: median, 95th and 99th percentile, and the slowest.
SELECT arrived_hour, count(*) AS images, min(CASE WHEN place >= 0.50 THEN seconds END) AS p50_seconds,
  min(CASE WHEN place >= 0.95 THEN seconds END) AS p95_seconds, min(CASE WHEN place >= 0.99 THEN seconds END) AS p99_seconds,
  max(seconds) AS max_seconds
FROM (
  SELECT arrived_hour, seconds, cume_dist() OVER (PARTITION BY arrived_hour ORDER BY seconds) AS place
  FROM (
    SELECT date_trunc('hour', received_at) AS arrived_hour,
      date_diff('millisecond', received_at, processed_at) / 1e3 AS seconds
    FROM current_images
    WHERE processed_at IS NOT NULL
  ) AS durations
) AS places
GROUP BY arrived_hour
ORDER BY arrived_hour
