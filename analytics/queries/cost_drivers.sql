-- What costs money, by source and format: images, gigabytes kept, megapixels decoded, and images that came to nothing.
SELECT source, coalesce(format, 'unknown') AS format, count(*) AS images, round(sum(bytes) / 1e9, 3) AS gb,
  round(sum(width * (height / 1e6)), 1) AS megapixels,
  sum(CASE WHEN status = 'processed' THEN 0 ELSE 1 END) AS without_result,
  round(1e2 * sum(bytes) / sum(sum(bytes)) OVER (), 1) AS percent_of_bytes
FROM current_images
GROUP BY 1, 2
ORDER BY gb DESC, source, format
