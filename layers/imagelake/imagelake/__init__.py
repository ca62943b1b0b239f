"""The domain of Image Lake, shared by all functions.

The flow, and the order to read it in:

    errors · settings · keys · model     what can go wrong, what a stack says, where things are, what they are
    pipelines                            the limits of an image and its scripts, as pipelines.yaml says
    aws · object_store · images_table    the session, the buckets and the table, nothing else talks to them
    uploads · images · problems          the HTTP API: forms for uploads, what callers are shown
    script_runner                        the engine: provided scripts in a confined process (see docs/scripts.md)
    processing                           one image: read, run the scripts, store the derivatives, say what became of it
    catalog · partitions · compaction    Parquet for analysts, the hours that Glue knows, few files instead of many
    dead_letters                         the queue for operators
    large_image                          the same in a task, for images that a function is too small for
    image_topic                          the Kafka door: records, claim checks, what is kept of those refused
    redshift · custom_resource           the catalog in Redshift, where a stack has it; answers to CloudFormation
    reconciliation                       images that got lost on their way are started again
    retention · erasure · receipts       what has had its days, or is asked to go, goes; and what proves it
    audit · audit_report                 whether it did, by somebody who shares nothing with them
"""

import gc

# What a start allocates stays; looking through it for garbage again and again is up to a tenth of a cold start.
gc.set_threshold(200_000)
