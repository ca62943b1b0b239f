"""The domain of Image Lake, shared by all functions: modules for everybody, and rooms.

The order to read it in. A line imports only from lines above it; `api`, `ingest`, `process` and `catalog` do not import
each other, and neither do `retention` and `audit`:

    errors, values  The errors this package raises, and types that have no home elsewhere. No logic.
    engine/         Bytes of an image in, columns and derivatives out, in a confined process. Nothing of AWS.
    metrics         The registry of metrics: name, unit, meaning, who emits it.
    emission        Emits them, as log lines. The only module that knows Powertools' metrics.
    keys            The names of objects in the buckets. Nobody else builds or parses one.
    model           The records of images, and their states. Nothing about where they are stored.
    events          What the lake tells others of images, as details of events. Nothing about who listens.
    schema          The columns of the catalog, derived from the record of an image.
    pipelines       Limits of images, scripts and their parameters, as `pipelines.yaml` says.
    settings        Reads what a stack tells its functions. No defaults.
    stores/         Session, buckets, tables, queue, bus, workflow: all that talks to AWS, but for `audit`. No rules.
    api/            Forms for uploads, what callers see, problem documents. No processing.
    ingest/         Kafka records become objects of the raw bucket. Nothing of what happens to them later.
    process/        One image from object to outcome and event; lost ones start again. No decoding: that is the engine.
    catalog/        Parquet for analysts, compaction, Redshift. Nothing that callers of the API see.
    retention/      The purge, erasure and their receipts: all that deletes. No judgement on whether it worked.
    audit/          That judgement. It deletes nothing and shares no module with what it audits.
"""

import gc

# What a start allocates stays; looking through it for garbage again and again is up to a tenth of a cold start.
gc.set_threshold(200_000)
