"""The catalog in Redshift: what the warehouse needs inside, and CloudFormation cannot make.

Everything may run twice. Statements run as the namespace's admin, whose password nobody sees: the Data API reads it.
"""

import time
from dataclasses import dataclass
from typing import Final

from imagelake.errors import Fault
from imagelake.schema import HIVE_COLUMNS, PARTITION_KEYS
from imagelake.stores import redshift_workgroup
from imagelake.stores.redshift_workgroup import RedshiftWorkgroup

EXTERNAL_SCHEMA: Final = "lake"
"""The Glue database, as Redshift calls it."""
SCHEMA: Final = "analytics"
"""Of the view."""
VIEW: Final = f"{SCHEMA}.current_images"
ROLE: Final = "analysts"
"""The database role of all who may ask."""

PERSONAL: Final = frozenset({"source_ref", "gps_lat", "gps_lon", "uploader", "tags"})
"""Columns that the view leaves out, as Athena's does."""
VIEW_COLUMNS: Final = [
    *(name for name, kind in HIVE_COLUMNS.items() if "<" not in kind and name not in PERSONAL),
    *PARTITION_KEYS,
]
"""The columns of the view: a view of Redshift has none that are nested."""


@dataclass(frozen=True)
class RedshiftCatalog:
    """The catalog in one workgroup. None of it changes while a stack lives; `spectrum_role` is an ARN."""

    workgroup: RedshiftWorkgroup
    catalog_database: str
    catalog_table: str
    spectrum_role: str

    def configure(self, daily_rpu_hours: int, seconds: float) -> None:
        """Limit what a day may cost, and make schemas, view and role, whatever of it is there already.

        Args:
            daily_rpu_hours: after so many, no query runs until midnight UTC.
            seconds: to spend at most.

        Raises:
            Fault: a statement failed, or took too long, or a call was refused.
        """
        session = self.workgroup.session(time.monotonic() + seconds)
        redshift_workgroup.set_daily_limit(self.workgroup.arn(), daily_rpu_hours)
        session.run(self.external_schema())
        has_role = session.run(f"SELECT role_name FROM svv_roles WHERE role_name = '{ROLE}'")  # noqa: S608  # a constant
        if not has_role:
            session.run(f"CREATE ROLE {ROLE}")
        session.run(self.grant_on_external_schema())
        session.run(*self.view_and_grants())

    def remove(self, seconds: float) -> None:
        """Take away limit, schemas and view, whatever of it is left; the role goes with its namespace.

        Raises:
            Fault: a statement failed, or took longer than `seconds`, or a call was refused.
        """
        try:
            session, workgroup_arn = self.workgroup.session(time.monotonic() + seconds), self.workgroup.arn()
        except Fault as fault:
            if fault.code == "ResourceNotFoundException":
                return  # and all that was in it
            raise
        redshift_workgroup.remove_daily_limit(workgroup_arn)  # first: it may have stopped all queries
        session.run(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        session.run(f"DROP SCHEMA IF EXISTS {EXTERNAL_SCHEMA}")

    def external_schema(self) -> str:
        """The statement that shows the Glue database; it may not be part of a transaction."""
        return (
            f"CREATE EXTERNAL SCHEMA IF NOT EXISTS {EXTERNAL_SCHEMA} FROM DATA CATALOG "
            f"DATABASE '{self.catalog_database}' IAM_ROLE '{self.spectrum_role}'"
        )

    @staticmethod
    def grant_on_external_schema() -> str:
        """The statement that lets the role see the Glue database; it may not be part of a transaction.

        https://docs.aws.amazon.com/redshift/latest/dg/r_GRANT.html
        """
        return f"GRANT USAGE ON SCHEMA {EXTERNAL_SCHEMA} TO ROLE {ROLE}"

    def view_and_grants(self) -> list[str]:
        """The statements of one transaction: a view is dropped, for `CREATE OR REPLACE` cannot change columns."""
        return [
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",  # a copy of rows would outlive the purge
            f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
            f"DROP VIEW IF EXISTS {VIEW}",
            view(self.catalog_table),
            f"GRANT USAGE ON SCHEMA {SCHEMA} TO ROLE {ROLE}",
            f"GRANT SELECT ON {VIEW} TO ROLE {ROLE}",
            f"GRANT TEMP ON DATABASE {self.workgroup.redshift_database} TO ROLE {ROLE}",  # Spectrum needs it
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
