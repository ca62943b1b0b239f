-- Pictures far less sharp than others of their source: under the mean by more than two standard deviations, of logarithms.
SELECT image_id, source, received_at, round(sharpness, 2) AS sharpness, round(deviations, 1) AS deviations
FROM (
  SELECT image_id, source, received_at, sharpness,
    (logarithm - avg(logarithm) OVER (PARTITION BY source))
      / nullif(stddev_pop(logarithm) OVER (PARTITION BY source), 0) AS deviations
  FROM (
    SELECT image_id, source, received_at, sharpness, ln(sharpness + 1) AS logarithm
    FROM current_images
    WHERE sharpness IS NOT NULL
  ) AS logarithms
) AS outliers
WHERE deviations < -2
ORDER BY deviations, image_id
LIMIT 100
