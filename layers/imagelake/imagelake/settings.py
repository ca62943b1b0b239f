"""What each function is told by the template, one frozen dataclass a function.

A field `raw_bucket` is read from the environment variable `RAW_BUCKET`. There are no defaults: a stack that forgets
one fails at its first call, with the name of the variable.
"""

import os
from dataclasses import dataclass, fields
from functools import cache

from imagelake.errors import SettingsError


@cache
def load[T](settings: type[T]) -> T:
    """Read `settings`, a dataclass of `str`, `int` and `bool` fields, from the environment, once per process.

    Raises:
        SettingsError: a variable is missing or is not of the field's type.
    """
    values: dict[str, object] = {}
    for field in fields(settings):  # type: ignore[arg-type]  # T is a dataclass by convention of this module
        variable = field.name.upper()
        text = os.environ.get(variable)
        if text is None:
            raise SettingsError(f"{variable} is not set")
        values[field.name] = _parse(variable, text, field.type)
    return settings(**values)


def _parse(variable: str, text: str, kind: object) -> object:
    if kind is int:
        try:
            return int(text)
        except ValueError:
            raise SettingsError(f"{variable} must be a whole number, not {text!r}") from None
    if kind is bool:
        if text not in ("true", "false"):
            raise SettingsError(f"{variable} must be true or false, not {text!r}")
        return text == "true"
    return text


@dataclass(frozen=True)
class HttpApiSettings:
    """Settings of `functions/http_api`."""

    raw_bucket: str
    lake_bucket: str
    images_table: str
    accept_heif: bool


@dataclass(frozen=True)
class ProcessImageSettings:
    """Settings of `functions/process_image`. `large_images` says whether the stack has the task for large images."""

    raw_bucket: str
    lake_bucket: str
    retention_days: int
    accept_heif: bool
    large_images: bool


@dataclass(frozen=True)
class ProcessLargeImageSettings(ProcessImageSettings):
    """Settings of `tasks/process_large_image`. `task_memory_mb` is the memory of the task in MiB."""

    images_table: str
    dead_letter_queue_url: str
    task_memory_mb: int


@dataclass(frozen=True)
class WriteCatalogSettings:
    """Settings of `functions/write_catalog`."""

    lake_bucket: str
    catalog_database: str
    catalog_table: str
    dead_letter_queue_url: str


@dataclass(frozen=True)
class CompactCatalogSettings:
    """Settings of `functions/compact_catalog`."""

    lake_bucket: str
    catalog_database: str
    catalog_table: str
    retention_days: int


@dataclass(frozen=True)
class EraseImageSettings:
    """Settings of `functions/erase_image`."""

    raw_bucket: str
    lake_bucket: str
    audit_bucket: str
    images_table: str
    retention_days: int


@dataclass(frozen=True)
class EnforceRetentionSettings:
    """Settings of `functions/enforce_retention`."""

    raw_bucket: str
    lake_bucket: str
    audit_bucket: str
    images_table: str
    catalog_database: str
    catalog_table: str
    retention_days: int


@dataclass(frozen=True)
class ReconcileSettings:
    """Settings of `functions/reconcile`. `ingest_image_state_machine` is an ARN."""

    raw_bucket: str
    images_table: str
    dead_letter_queue_url: str
    ingest_image_state_machine: str
    retention_days: int


@dataclass(frozen=True)
class AuditRetentionSettings:
    """Settings of `functions/audit_retention`."""

    raw_bucket: str
    lake_bucket: str
    audit_bucket: str
    images_table: str
    catalog_database: str
    catalog_table: str
    dead_letter_queue_url: str
    retention_days: int


@dataclass(frozen=True)
class ConsumeImageTopicSettings:
    """Settings of `functions/consume_image_topic`.

    `claim_check_locations` is a comma-separated list of `bucket/` or `bucket/prefix/` in the account `account_id`;
    empty, it allows no claim check. `kafka_cluster_name` names a self-managed cluster in every image_id; MSK's events
    bring their own name.
    """

    raw_bucket: str
    failed_records_bucket: str
    dead_letter_queue_url: str
    claim_check_locations: str
    account_id: str
    kafka_cluster_name: str


@dataclass(frozen=True)
class ConfigureRedshiftSettings:
    """Settings of `functions/configure_redshift`, none of which changes while a stack lives.

    `spectrum_role` is an ARN.
    """

    redshift_namespace: str
    redshift_workgroup: str
    redshift_database: str
    catalog_database: str
    catalog_table: str
    spectrum_role: str
