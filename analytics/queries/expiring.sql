-- What is purged within 24 hours, each hour, by source.
SELECT date_trunc('hour', expires_at) AS expiring_hour, source, count(*) AS images, round(sum(bytes) / 1e6, 1) AS mb
FROM current_images
WHERE expires_at < current_timestamp + INTERVAL '24' HOUR
GROUP BY 1, 2
ORDER BY expiring_hour, source
