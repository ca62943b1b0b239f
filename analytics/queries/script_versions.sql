-- Versions of the scripts side by side: what they ran on, how long images took, how many were rejected, and what they found.
SELECT script, script_version, count(*) AS images, min(processed_at) AS first_processed_at, max(processed_at) AS last_processed_at,
  round(avg(date_diff('millisecond', received_at, processed_at) / 1e3), 2) AS mean_seconds,
  sum(CASE WHEN status = 'rejected' THEN 1 ELSE 0 END) AS rejected,
  round(avg(brightness), 3) AS mean_brightness, round(avg(sharpness), 2) AS mean_sharpness
FROM current_images
WHERE script IS NOT NULL
GROUP BY script, script_version
ORDER BY script, first_processed_at, script_version
