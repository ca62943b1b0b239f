-- Pictures that came more than once: the same perceptual hash, whether or not the files are the same.
SELECT phash, count(*) AS images, count(DISTINCT sha256) AS files, count(DISTINCT source) AS sources,
  min(received_at) AS first_received_at, max(received_at) AS last_received_at, round(sum(bytes) / 1e6, 1) AS mb
FROM (
  SELECT phash, sha256, source, received_at, bytes, count(*) OVER (PARTITION BY phash) AS alike
  FROM current_images
  WHERE phash IS NOT NULL
) AS pictures
WHERE alike > 1
GROUP BY phash
ORDER BY images DESC, phash
LIMIT 100
