-- Formats and sizes of the images that were processed.
SELECT format, count(*) AS images, round(avg(bytes / 1e3), 1) AS mean_kb,
  round(avg(width * (height / 1e6)), 1) AS mean_megapixels, round(max(width * (height / 1e6)), 1) AS largest_megapixels
FROM current_images
WHERE status = 'processed'
GROUP BY format
ORDER BY images DESC, format
