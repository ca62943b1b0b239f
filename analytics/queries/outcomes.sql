-- What became of the images: how many ended how, and why.
SELECT status, split_part(reason, ':', 1) AS reason, count(*) AS images
FROM current_images
GROUP BY 1, 2
ORDER BY images DESC, status, reason
