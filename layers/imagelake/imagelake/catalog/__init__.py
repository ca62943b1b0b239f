"""The catalog: Parquet files of image records, their compaction, and the same catalog in Redshift.

What analysts query belongs here. What the API says of an image does not.
"""
