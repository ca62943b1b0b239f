"""One image from its object to its outcome: `opening` decides before the engine works, `ordering` signs what the engine
is asked to do, `closing` believes its answer or not; `publication` tells others of its outcome; `reconciliation` starts
lost images again, and `redrive` those that an operator names. `rehearsal` orders and closes built-in pictures.

What the workflow does with an image belongs here. Decoding and scripts are in `engine`, which these never import but
for its contract: they hold rights, it holds strangers' bytes.
"""
