"""A workgroup of Redshift Serverless: statements through the Data API, and what a day may cost."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from botocore.config import Config

from imagelake.errors import Fault
from imagelake.stores.session import calling, client

if TYPE_CHECKING:
    from mypy_boto3_redshift_data import RedshiftDataAPIServiceClient
    from mypy_boto3_redshift_data.type_defs import DescribeStatementResponseTypeDef
    from mypy_boto3_redshift_serverless import RedshiftServerlessClient
    from mypy_boto3_redshift_serverless.type_defs import UsageLimitTypeDef

POLL_SECONDS: Final = 1.0
_PATIENCE: Final = Config(connect_timeout=5, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})


@cache
def _serverless() -> "RedshiftServerlessClient":
    serverless: RedshiftServerlessClient = client("redshift-serverless", config=_PATIENCE)
    return serverless


@cache
def _data() -> "RedshiftDataAPIServiceClient":
    data: RedshiftDataAPIServiceClient = client("redshift-data", config=_PATIENCE)
    return data


@dataclass(frozen=True)
class Session:
    """A database to run statements in, as its admin, until `deadline`, a reading of the monotonic clock."""

    workgroup: str
    database: str
    secret_arn: str
    deadline: float

    def run(self, *statements: str) -> int:
        """Run one statement by itself, or several as one transaction; return the number of rows of one.

        Raises:
            Fault: a statement failed, and why, or has not ended in time, or a call was refused.
        """
        statement_id = self._start(statements)
        while (status := self._look(statement_id))["Status"] not in ("FINISHED", "FAILED", "ABORTED"):
            if time.monotonic() > self.deadline:
                raise Fault(f"Timeout on statement {statement_id}, which was {status['Status']}: {statements[0]}")
            time.sleep(POLL_SECONDS)
        if status["Status"] != "FINISHED":
            raise Fault(f"{status['Status']} statement {statement_id}: {status.get('Error', statements[0])}")
        return status.get("ResultRows", 0)

    def _start(self, statements: Sequence[str]) -> str:
        place: Any = {"WorkgroupName": self.workgroup, "Database": self.database, "SecretArn": self.secret_arn}
        if len(statements) > 1:
            with calling("BatchExecuteStatement", explains=True):
                return str(_data().batch_execute_statement(Sqls=statements, **place)["Id"])
        with calling("ExecuteStatement", explains=True):
            return str(_data().execute_statement(Sql=statements[0], **place)["Id"])

    @staticmethod
    def _look(statement_id: str) -> "DescribeStatementResponseTypeDef":
        with calling("DescribeStatement", explains=True):
            return _data().describe_statement(Id=statement_id)


@dataclass(frozen=True)
class RedshiftWorkgroup:
    """A workgroup and its namespace, by their names, and the one database in it."""

    redshift_namespace: str
    redshift_workgroup: str
    redshift_database: str

    def session(self, deadline: float) -> Session:
        """A session of the admin.

        Raises:
            Fault: Redshift did not answer or denied access; with the code `ResourceNotFoundException`, it is gone.
        """
        with calling("GetNamespace", explains=True):
            namespace = _serverless().get_namespace(namespaceName=self.redshift_namespace)["namespace"]
        return Session(self.redshift_workgroup, self.redshift_database, namespace["adminPasswordSecretArn"], deadline)

    def arn(self) -> str:
        """The ARN of the workgroup.

        Raises:
            Fault: as for `session`.
        """
        with calling("GetWorkgroup", explains=True):
            return _serverless().get_workgroup(workgroupName=self.redshift_workgroup)["workgroup"]["workgroupArn"]


def set_daily_limit(workgroup_arn: str, rpu_hours: int) -> None:
    """After so many RPU-hours, no query runs until midnight UTC.

    Raises:
        Fault: Redshift did not answer, or denied access.
    """
    limit = _daily_limit(workgroup_arn)
    if limit:
        with calling("UpdateUsageLimit", explains=True):
            _serverless().update_usage_limit(
                usageLimitId=limit["usageLimitId"], amount=rpu_hours, breachAction="deactivate"
            )
        return
    with calling("CreateUsageLimit", explains=True):
        _serverless().create_usage_limit(
            resourceArn=workgroup_arn,
            usageType="serverless-compute",
            period="daily",
            amount=rpu_hours,
            breachAction="deactivate",
        )


def remove_daily_limit(workgroup_arn: str) -> None:
    """Remove the limit, if there is one.

    Raises:
        Fault: Redshift did not answer, or denied access.
    """
    if limit := _daily_limit(workgroup_arn):
        with calling("DeleteUsageLimit", explains=True):
            _serverless().delete_usage_limit(usageLimitId=limit["usageLimitId"])


def _daily_limit(workgroup_arn: str) -> "UsageLimitTypeDef | None":
    """The limit of a day; there is one at most. Limits of other periods are somebody else's."""
    with calling("ListUsageLimits", explains=True):
        pages = _serverless().get_paginator("list_usage_limits").paginate(resourceArn=workgroup_arn)
        limits = [limit for page in pages for limit in page["usageLimits"]]
    daily = (one for one in limits if (one["usageType"], one["period"]) == ("serverless-compute", "daily"))
    return next(daily, None)
