-- As current_images, with the columns that are personal data: for whoever may read those.
SELECT image_id, status, source, source_ref, received_at, processed_at, expires_at, sha256, bytes, format,
  content_type, width, height, mode, frames, orientation, camera_make, camera_model, taken_at, gps_lat, gps_lon,
  uploader, phash, dominant_color, brightness, sharpness, script, script_version, script_output, tags,
  derivatives, reason, tenant, ingest_date, hour
FROM (
  SELECT image_id, status, source, source_ref, received_at, processed_at, expires_at, sha256, bytes, format,
    content_type, width, height, mode, frames, orientation, camera_make, camera_model, taken_at, gps_lat, gps_lon,
    uploader, phash, dominant_color, brightness, sharpness, script, script_version, script_output, tags,
    derivatives, reason, tenant, ingest_date, hour,
    row_number() OVER (
      PARTITION BY ingest_date, hour, image_id
      ORDER BY processed_at DESC NULLS LAST, status
    ) AS recency
  FROM images
) AS outcomes
WHERE recency = 1
