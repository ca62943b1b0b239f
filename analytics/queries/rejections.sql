-- Why images were rejected or failed: how many of which source, and when last.
SELECT split_part(reason, ':', 1) AS reason, source, status, count(*) AS images, max(received_at) AS last_received_at
FROM current_images
WHERE status IN ('rejected', 'failed')
GROUP BY 1, 2, 3
ORDER BY images DESC, reason, source
