-- Formats and sizes of the images that were processed.
SELECT format, count(*) AS images, round(avg(bytes) / 1000) AS mean_kb, max(width * height) / 1000000.0 AS largest_megapixels
FROM images
WHERE status = 'processed'
GROUP BY format
ORDER BY images DESC, format
