"""The catalog in Redshift: what the warehouse needs inside, and CloudFormation cannot make.

Everything may run twice. Statements run as the namespace's admin, whose password nobody sees: the Data API reads it.
"""

import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import boto3
from botocore.config import Config

from imagelake.errors import Fault
from imagelake.settings import ConfigureRedshiftSettings
from imagelake.stores.partitions import COLUMNS

if TYPE_CHECKING:
    from mypy_boto3_redshift_data import RedshiftDataAPIServiceClient
    from mypy_boto3_redshift_serverless import RedshiftServerlessClient
    from mypy_boto3_redshift_serverless.type_defs import UsageLimitTypeDef

EXTERNAL_SCHEMA: Final = "lake"
"""The Glue database, as Redshift calls it."""
SCHEMA: Final = "analytics"
"""Of the view."""
VIEW: Final = f"{SCHEMA}.current_images"
ROLE: Final = "analysts"
"""The database role of all who may ask."""

VIEW_COLUMNS: Final = [*(name for name, kind in COLUMNS.items() if "<" not in kind), "ingest_date", "hour"]
"""The columns of the view: a view of Redshift has none that are nested."""

POLL_SECONDS: Final = 1.0
_PATIENCE: Final = Config(connect_timeout=5, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})


@dataclass(frozen=True)
class _Session:
    """A database to run statements in until `deadline`, a reading of the monotonic clock."""

    workgroup: str
    database: str
    secret_arn: str
    deadline: float

    def run(self, *statements: str) -> int:
        """Run one statement by itself, or several as one transaction; return the number of rows of one.

        Raises:
            Fault: a statement failed, and why, or has not ended in time.
        """
        first, *others = statements
        if others:
            statement_id = _data().batch_execute_statement(
                Sqls=statements, WorkgroupName=self.workgroup, Database=self.database, SecretArn=self.secret_arn
            )["Id"]
        else:
            statement_id = _data().execute_statement(
                Sql=first, WorkgroupName=self.workgroup, Database=self.database, SecretArn=self.secret_arn
            )["Id"]
        while (found := _data().describe_statement(Id=statement_id))["Status"] not in ("FINISHED", "FAILED", "ABORTED"):
            if time.monotonic() > self.deadline:
                raise Fault(f"Timeout on statement {statement_id}, which was {found['Status']}: {first}")
            time.sleep(POLL_SECONDS)
        if found["Status"] != "FINISHED":
            raise Fault(f"{found['Status']} statement {statement_id}: {found.get('Error', first)}")
        return found.get("ResultRows", 0)


def configure(settings: ConfigureRedshiftSettings, daily_rpu_hours: int, seconds: float) -> None:
    """Limit what a day may cost, and make schemas, view and role, whatever of it is there already.

    Args:
        settings: of which workgroup.
        daily_rpu_hours: after so many, no query runs until midnight UTC.
        seconds: to spend at most.

    Raises:
        Fault: a statement failed, or took too long.
        botocore.exceptions.ClientError: a call was refused.
    """
    session = _session(settings, time.monotonic() + seconds)
    _set_limit(_workgroup_arn(settings), daily_rpu_hours)
    session.run(external_schema(settings))
    has_role = session.run(f"SELECT role_name FROM svv_roles WHERE role_name = '{ROLE}'")  # noqa: S608  # a constant
    session.run(*([] if has_role else [f"CREATE ROLE {ROLE}"]), *view_and_grants(settings))


def remove(settings: ConfigureRedshiftSettings, seconds: float) -> None:
    """Take away limit, schemas and view, whatever of it is left; the role goes with its namespace.

    Raises:
        Fault: a statement failed, or took longer than `seconds`.
        botocore.exceptions.ClientError: a call was refused.
    """
    try:
        session, workgroup_arn = _session(settings, time.monotonic() + seconds), _workgroup_arn(settings)
    except _serverless().exceptions.ResourceNotFoundException:
        return  # and all that was in it
    if limit := _limit(workgroup_arn):
        _serverless().delete_usage_limit(usageLimitId=limit["usageLimitId"])  # first: it may have stopped all queries
    session.run(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    session.run(f"DROP SCHEMA IF EXISTS {EXTERNAL_SCHEMA}")


def external_schema(settings: ConfigureRedshiftSettings) -> str:
    """The statement that shows the Glue database; it may not be part of a transaction."""
    return (
        f"CREATE EXTERNAL SCHEMA IF NOT EXISTS {EXTERNAL_SCHEMA} FROM DATA CATALOG "
        f"DATABASE '{settings.catalog_database}' IAM_ROLE '{settings.spectrum_role}'"
    )


def view_and_grants(settings: ConfigureRedshiftSettings) -> list[str]:
    """The statements of one transaction: a view is replaced, for `CREATE OR REPLACE` could not change its columns."""
    return [
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",  # a copy of rows would outlive the purge
        f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
        f"DROP VIEW IF EXISTS {VIEW}",
        view(settings.catalog_table),
        f"GRANT USAGE ON SCHEMA {EXTERNAL_SCHEMA} TO ROLE {ROLE}",
        f"GRANT USAGE ON SCHEMA {SCHEMA} TO ROLE {ROLE}",
        f"GRANT SELECT ON {VIEW} TO ROLE {ROLE}",
        f"GRANT TEMP ON DATABASE {settings.redshift_database} TO ROLE {ROLE}",  # Spectrum needs it
    ]


def view(table: str) -> str:
    """The statement that makes the view: one row per image, the latest. All rows of an image are in one hour."""
    columns = ", ".join(f'"{name}"' for name in VIEW_COLUMNS)
    return (
        f"CREATE VIEW {VIEW} AS SELECT {columns} FROM (SELECT {columns}, "  # noqa: S608  # names from the template
        'row_number() OVER (PARTITION BY "ingest_date", "hour", "image_id" '
        'ORDER BY "processed_at" DESC NULLS LAST, "status") '
        f"AS recency FROM {EXTERNAL_SCHEMA}.{table}) AS ranked WHERE recency = 1 WITH NO SCHEMA BINDING"
    )


def _session(settings: ConfigureRedshiftSettings, deadline: float) -> _Session:
    namespace = _serverless().get_namespace(namespaceName=settings.redshift_namespace)["namespace"]
    return _Session(
        settings.redshift_workgroup, settings.redshift_database, namespace["adminPasswordSecretArn"], deadline
    )


def _workgroup_arn(settings: ConfigureRedshiftSettings) -> str:
    return _serverless().get_workgroup(workgroupName=settings.redshift_workgroup)["workgroup"]["workgroupArn"]


def _set_limit(workgroup_arn: str, daily_rpu_hours: int) -> None:
    if limit := _limit(workgroup_arn):
        _serverless().update_usage_limit(
            usageLimitId=limit["usageLimitId"], amount=daily_rpu_hours, breachAction="deactivate"
        )
    else:
        _serverless().create_usage_limit(
            resourceArn=workgroup_arn,
            usageType="serverless-compute",
            period="daily",
            amount=daily_rpu_hours,
            breachAction="deactivate",
        )


def _limit(workgroup_arn: str) -> "UsageLimitTypeDef | None":
    """The limit of a day; there is one at most, and limits of other periods are none of ours."""
    pages = _serverless().get_paginator("list_usage_limits").paginate(resourceArn=workgroup_arn)
    limits = (limit for page in pages for limit in page["usageLimits"])
    daily = (one for one in limits if (one["usageType"], one["period"]) == ("serverless-compute", "daily"))
    return next(daily, None)


@cache
def _serverless() -> "RedshiftServerlessClient":
    return boto3.client("redshift-serverless", config=_PATIENCE)


@cache
def _data() -> "RedshiftDataAPIServiceClient":
    return boto3.client("redshift-data", config=_PATIENCE)
