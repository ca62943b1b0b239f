-- Exactly one row an image, the latest, without personal data. All rows of an image are in one hour: partitions are pruned.
SELECT image_id, status, source, received_at, processed_at, expires_at, sha256, bytes, format, content_type, width,
  height, mode, frames, orientation, camera_make, camera_model, taken_at, phash, dominant_color, brightness,
  sharpness, script, script_version, script_output, derivatives, reason, tenant, ingest_date, hour
FROM (
  SELECT image_id, status, source, received_at, processed_at, expires_at, sha256, bytes, format, content_type, width,
    height, mode, frames, orientation, camera_make, camera_model, taken_at, phash, dominant_color, brightness,
    sharpness, script, script_version, script_output, derivatives, reason, tenant, ingest_date, hour,
    row_number() OVER (
      PARTITION BY ingest_date, hour, image_id
      ORDER BY processed_at DESC NULLS LAST, status
    ) AS recency
  FROM images
) AS outcomes
WHERE recency = 1
