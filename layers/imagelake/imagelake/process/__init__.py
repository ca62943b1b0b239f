"""One image from its object to its outcome, here or in the large-image task; `reconciliation` starts lost images again.

What the workflow does with an image belongs here. Decoding and scripts are in `engine`.
"""
