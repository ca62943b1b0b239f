-- Cameras, how many pictures each took, and how many of those say where.
SELECT camera_make, camera_model, count(*) AS images, count(gps_lat) AS with_place
FROM current_images
WHERE camera_make IS NOT NULL
GROUP BY camera_make, camera_model
ORDER BY images DESC, camera_make, camera_model
