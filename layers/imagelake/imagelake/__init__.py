"""The domain of Image Lake, shared by all functions.

The flow, and the order to read it in:

    errors · settings · keys · model     what can go wrong, what a stack says, where things are, what they are
    aws · object_store · images_table    the session, the buckets and the table, nothing else talks to them
    uploads · images · problems          the HTTP API: forms for uploads, what callers are shown
    script_runner                        the engine: provided scripts in a confined process (see docs/scripts.md)
    processing                           one image: read, run the scripts, store the derivatives, say what became of it
    catalog · dead_letters               Parquet and Glue for analysts, the queue for operators
    image_topic                          the Kafka door: records, claim checks, what is kept of those refused
    retention · erasure · receipts       the purge by the hour, erasure on request, and the evidence of both
    reconciliation · audit               what got lost on its way, and whether the promise was kept
    reconciliation                       images that got lost on their way are started again
    retention · erasure · receipts       what has had its days, or is asked to go, goes; and what proves it
    audit · audit_report                 whether it did, by somebody who shares nothing with them
"""

import gc

# What a start allocates stays; looking through it for garbage again and again is up to a tenth of a cold start.
gc.set_threshold(200_000)
