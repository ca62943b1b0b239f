-- Cameras, and how many pictures each took.
SELECT camera_make, camera_model, count(*) AS images
FROM current_images
WHERE camera_make IS NOT NULL
GROUP BY camera_make, camera_model
ORDER BY images DESC, camera_make, camera_model
