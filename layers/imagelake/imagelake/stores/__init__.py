"""The stores: the AWS session, the buckets, the images table, the partitions in Glue and the dead-letter queue.

What reads or writes a store belongs here, one module a store. What an image, an outcome or a deadline means does not.
"""
