-- Images and megabytes that arrived each hour, by source.
SELECT date_trunc('hour', received_at) AS arrived_hour, source, count(*) AS images, round(sum(bytes) / 1e6, 1) AS mb
FROM current_images
GROUP BY 1, 2
ORDER BY arrived_hour, source
