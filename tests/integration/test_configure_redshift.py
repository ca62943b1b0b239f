"""The custom resource that configures Redshift: what it makes, that it may run twice, and that it always answers.

Redshift has no local edition and costs money, so `Warehouse` stands in for it. Calls are real up to the network:
botocore checks them against the services' own models. That Redshift takes the statements, only Redshift can say.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
import sqlglot
from botocore import xform_name
from sqlglot import expressions

from functions.configure_redshift.app import handler
from imagelake.catalog import redshift
from imagelake.catalog.redshift import RedshiftCatalog
from imagelake.errors import Fault
from imagelake.schema import HIVE_COLUMNS as COLUMNS
from imagelake.stores import custom_resource, redshift_workgroup
from imagelake.stores.redshift_workgroup import RedshiftWorkgroup
from imagelake_cli import grants
from tests.application import ROOT, TEMPLATE, event, physical_name
from tests.integration.conftest import Context

WORKGROUP_ARN = "arn:aws:redshift-serverless:us-east-1:123456789012:workgroup/0f1e2d3c-4b5a-4678-9abc-def012345678"
SECRET_ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:redshift!image-lake-test-admin-aB3dE6"  # noqa: S105  # its name
TIMEOUT = TEMPLATE["Resources"]["ConfigureRedshiftFunction"]["Properties"]["Timeout"]
SETTINGS = RedshiftCatalog(
    RedshiftWorkgroup("ns", "wg", "image_lake"), "image_lake_test", "images", "arn:aws:iam::1:role/x"
)


@dataclass
class Inside:
    """What a database has."""

    schemas: set[str] = field(default_factory=lambda: {"public"})
    views: set[str] = field(default_factory=set)
    roles: set[str] = field(default_factory=set)
    grants: set[str] = field(default_factory=set)

    def copy(self) -> "Inside":
        return Inside(*map(set, (self.schemas, self.views, self.roles, self.grants)))

    def run(self, sql: str) -> int:
        """Run one of the statements there are; how many rows it gives."""

        def must(holds: object, complaint: str) -> None:
            if not holds:
                raise ValueError(f"ERROR: {complaint}")

        if found := re.match(r"CREATE (?:EXTERNAL )?SCHEMA IF NOT EXISTS (\w+)", sql):
            self.schemas.add(found[1])
        elif found := re.fullmatch(r"CREATE ROLE (\w+)", sql):
            must(found[1] not in self.roles, f'Role "{found[1]}" already exists')
            self.roles.add(found[1])
        elif found := re.fullmatch(r"SELECT role_name FROM svv_roles WHERE role_name = '(\w+)'", sql):
            return int(found[1] in self.roles)
        elif found := re.fullmatch(r"DROP VIEW IF EXISTS (\S+)", sql):
            self.views.discard(found[1])
        elif found := re.match(r"CREATE VIEW ((\w+)\.\w+) AS SELECT ", sql):
            must(found[2] in self.schemas, f'schema "{found[2]}" does not exist')
            must(found[1] not in self.views, f'Relation "{found[1]}" already exists')
            self.views.add(found[1])
        elif found := re.fullmatch(r"(GRANT \w+ ON (?:SCHEMA |DATABASE )?(\S+)) TO ROLE (\w+)", sql):
            must(found[3] in self.roles, f'role "{found[3]}" does not exist')
            must(found[2] in {*self.schemas, *self.views, "image_lake"}, f"{found[2]} does not exist")
            self.grants.add(found[1])
        elif sql == "REVOKE CREATE ON SCHEMA public FROM PUBLIC":
            self.grants.discard("GRANT CREATE ON SCHEMA public")
        elif found := re.fullmatch(r"DROP SCHEMA IF EXISTS (\w+)( CASCADE)?", sql):
            inside = {view for view in self.views if view.startswith(f"{found[1]}.")}
            must(found[2] or not inside, f"cannot drop schema {found[1]} because other objects depend on it")
            self.schemas.discard(found[1])
            self.views -= inside
        else:
            raise NotImplementedError(sql)
        return 0


class Warehouse:
    """A workgroup, its namespace and the Data API, with a memory; `refuse` and `fail` make it misbehave."""

    def __init__(self) -> None:
        self.exists = True
        self.inside = Inside(grants={"GRANT CREATE ON SCHEMA public"})
        self.limits: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.transactions: list[list[str]] = []
        self.refuse: set[str] = set()
        """Operations that IAM denies."""
        self.fail = self.hang = "nothing"
        """What statements have in them that end badly, or never."""
        self.error = "ERROR: permission denied for database image_lake"
        self._statements: dict[str, dict[str, Any]] = {}

    def attach(self, client: Any) -> None:
        client.meta.events.register("before-call", self._answer)

    def _answer(self, model: Any, params: dict[str, Any], **_: Any) -> tuple[Any, dict[str, Any]]:
        self.calls.append(model.name)
        if model.name in self.refuse:
            return _error("AccessDeniedException", f"User is not authorized to perform: {model.name}")
        try:
            answer = getattr(self, f"_{xform_name(model.name)}")(json.loads(params["body"]))
        except LookupError as error:
            return _error("ResourceNotFoundException", str(error))
        return SimpleNamespace(status_code=200), answer

    def _get_namespace(self, given: dict[str, Any]) -> dict[str, Any]:
        if not self.exists or given != {"namespaceName": physical_name("RedshiftNamespace")}:
            raise LookupError(given)
        return {"namespace": {**given, "adminPasswordSecretArn": SECRET_ARN}}

    def _get_workgroup(self, given: dict[str, Any]) -> dict[str, Any]:
        if not self.exists or given != {"workgroupName": physical_name("RedshiftWorkgroup")}:
            raise LookupError(given)
        return {"workgroup": {**given, "workgroupArn": WORKGROUP_ARN}}

    def _list_usage_limits(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"usageLimits": [one for one in self.limits.values() if one["resourceArn"] == given["resourceArn"]]}

    def _create_usage_limit(self, given: dict[str, Any]) -> dict[str, Any]:
        assert not [one for one in self.limits.values() if one["period"] == given["period"]], "a ConflictException"
        limit = {**given, "usageLimitId": f"limit-{len(self.limits)}"}
        self.limits[limit["usageLimitId"]] = limit
        return {"usageLimit": limit}

    def _update_usage_limit(self, given: dict[str, Any]) -> dict[str, Any]:
        self.limits[given["usageLimitId"]] |= given
        return {"usageLimit": self.limits[given["usageLimitId"]]}

    def _delete_usage_limit(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"usageLimit": self.limits.pop(given["usageLimitId"])}

    def _execute_statement(self, given: dict[str, Any]) -> dict[str, Any]:
        return self._run([given.pop("Sql")], given)

    def _batch_execute_statement(self, given: dict[str, Any]) -> dict[str, Any]:
        return self._run(given.pop("Sqls"), given)

    def _run(self, statements: list[str], target: dict[str, str]) -> dict[str, Any]:
        del target["ClientToken"]  # botocore's
        assert target == {
            "WorkgroupName": physical_name("RedshiftWorkgroup"), "Database": "image_lake", "SecretArn": SECRET_ARN,
        }  # fmt: skip
        self.transactions.append(statements)
        statement_id, changed = f"8c0c9d2e-0000-4000-8000-{len(self.transactions):012}", self.inside.copy()
        try:
            for sql in statements:
                if self.fail in sql:
                    raise ValueError(self.error)
                if len(statements) > 1 and re.search(r"EXTERNAL|ON SCHEMA lake\b", sql):
                    raise ValueError(f"ERROR: {sql.split(' TO ')[0]} cannot run inside a transaction block")
                rows = changed.run(sql)
            ended = {"Status": "FINISHED", "ResultRows": rows}
            self.inside = changed
        except ValueError as error:
            ended = {"Status": "FAILED", "Error": str(error)}
        hangs = any(self.hang in sql for sql in statements)
        self._statements[statement_id] = {"Status": "STARTED"} if hangs else ended
        return {"Id": statement_id}

    def _describe_statement(self, given: dict[str, Any]) -> dict[str, Any]:
        return given | self._statements[given["Id"]]


def _error(code: str, message: str) -> tuple[Any, dict[str, Any]]:
    return SimpleNamespace(status_code=400), {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {}}


@dataclass
class CloudFormation:
    """The place that an answer is put to; the first `refusals` are refused."""

    url: str
    refusals: int = 0
    answers: list[dict[str, Any]] = field(default_factory=list)
    content_types: list[str | None] = field(default_factory=list)
    bytes: int = 0


@pytest.fixture
def cloudformation(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudFormation]:
    class Door(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            place.refusals -= 1
            if place.refusals < 0:
                place.answers.append(json.loads(content))
                place.content_types.append(self.headers["Content-Type"])
                place.bytes = len(content)
            self.send_response(200 if place.refusals < 0 else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing to the terminal."""

    monkeypatch.setattr(custom_resource, "_RETRIES", custom_resource._RETRIES.new(backoff_factor=0.01))
    with HTTPServer(("127.0.0.1", 0), Door) as server:
        place = CloudFormation(f"http://127.0.0.1:{server.server_port}/answer?X-Amz-Signature=5ec7e7")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield place
        server.shutdown()
        thread.join()


@pytest.fixture
def warehouse() -> Iterator[Warehouse]:
    redshift_workgroup._serverless.cache_clear()
    redshift_workgroup._data.cache_clear()
    made = Warehouse()
    made.attach(redshift_workgroup._serverless())
    made.attach(redshift_workgroup._data())
    yield made
    redshift_workgroup._serverless.cache_clear()
    redshift_workgroup._data.cache_clear()


@dataclass
class Clock:
    """Time that passes while somebody sleeps, and a second with every look at it."""

    now: float = 0.0

    def monotonic(self) -> float:
        self.now += 1
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(redshift, "time", clock)
    monkeypatch.setattr(redshift_workgroup, "time", clock)
    return clock


type Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(
    tell: Callable[[str], Context],
    warehouse: Warehouse,  # noqa: ARG001  # nothing goes to AWS
    cloudformation: CloudFormation,
    clock: Clock,
    logs: StringIO,  # noqa: ARG001  # not for the terminal
) -> Ask:
    """Sends a request as CloudFormation does, and gives the answer that it gets."""
    tell("configure_redshift")

    class WholeInvocation(Context):
        @staticmethod
        def get_remaining_time_in_millis() -> int:
            return int(TIMEOUT * 1000)

    def ask(request_type: str, **properties: str) -> dict[str, Any]:
        request = event("configure_redshift") | {"RequestType": request_type, "ResponseURL": cloudformation.url}
        request["ResourceProperties"] |= properties
        if request_type != "Create":
            request["PhysicalResourceId"] = cloudformation.answers[0]["PhysicalResourceId"]
        clock.now = 0.0
        assert handler(request, WholeInvocation("configure_redshift")) == {
            "status": cloudformation.answers[-1]["Status"]
        }
        return cloudformation.answers[-1]

    return ask


EVERYTHING = Inside(
    {"public", "lake", "analytics"},
    {"analytics.current_images"},
    {"analysts"},
    {
        "GRANT USAGE ON SCHEMA lake",
        "GRANT USAGE ON SCHEMA analytics",
        "GRANT SELECT ON analytics.current_images",
        "GRANT TEMP ON DATABASE image_lake",
    },
)


def test_makes_schemas_view_role_and_limit(ask: Ask, warehouse: Warehouse) -> None:
    answer = ask("Create")

    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", "RedshiftCatalog")
    assert answer.keys() == {
        "Status", "Reason", "PhysicalResourceId", "StackId", "RequestId", "LogicalResourceId",
    }  # fmt: skip
    assert warehouse.inside == EVERYTHING
    [limit] = warehouse.limits.values()
    assert limit == {
        "usageLimitId": "limit-0",
        "resourceArn": WORKGROUP_ARN,
        "usageType": "serverless-compute",
        "period": "daily",
        "amount": 8,
        "breachAction": "deactivate",
    }


def test_no_statement_runs_before_the_limit_is_set(ask: Ask, warehouse: Warehouse) -> None:
    ask("Create")

    assert warehouse.calls.index("CreateUsageLimit") < warehouse.calls.index("ExecuteStatement")


def test_what_is_external_is_done_outside_of_a_transaction_and_the_view_replaced_within_one(
    ask: Ask, warehouse: Warehouse
) -> None:
    ask("Create")

    assert [len(one) for one in warehouse.transactions if "EXTERNAL" in one[0]] == [1]
    [together] = [one for one in warehouse.transactions if any("CREATE VIEW" in sql for sql in one)]
    assert any("DROP VIEW" in sql for sql in together)
    assert any("GRANT SELECT" in sql for sql in together)


def test_may_run_twice(ask: Ask, warehouse: Warehouse) -> None:
    first, second = ask("Create"), ask("Create")

    assert first == second
    assert warehouse.inside == EVERYTHING
    assert len(warehouse.limits) == 1


def test_an_update_changes_the_limit_and_keeps_the_resource(ask: Ask, warehouse: Warehouse) -> None:
    created = ask("Create")
    warehouse.limits["theirs"] = {
        "usageLimitId": "theirs", "resourceArn": WORKGROUP_ARN, "usageType": "serverless-compute", "period": "monthly",
        "amount": 100,
    }  # fmt: skip

    updated = ask("Update", DailyRpuHours="20")

    assert updated["Status"] == "SUCCESS"
    assert updated["PhysicalResourceId"] == created["PhysicalResourceId"]
    assert {limit["period"]: limit["amount"] for limit in warehouse.limits.values()} == {"daily": 20, "monthly": 100}
    assert warehouse.inside == EVERYTHING


def test_a_deletion_leaves_no_schema_no_view_and_no_limit(ask: Ask, warehouse: Warehouse) -> None:
    ask("Create")

    assert ask("Delete")["Status"] == "SUCCESS"
    assert (warehouse.inside.schemas, warehouse.inside.views, warehouse.limits) == ({"public"}, set(), {})


def test_a_deletion_lifts_the_limit_first_for_it_may_have_stopped_all_statements(
    ask: Ask, warehouse: Warehouse
) -> None:
    ask("Create")
    warehouse.calls.clear()

    ask("Delete")

    assert warehouse.calls.index("DeleteUsageLimit") < warehouse.calls.index("ExecuteStatement")


def test_a_deletion_may_run_twice(ask: Ask) -> None:
    assert [ask(one)["Status"] for one in ("Create", "Delete", "Delete")] == ["SUCCESS"] * 3


@pytest.mark.parametrize("sql", ["EXTERNAL SCHEMA", "svv_roles", "CREATE VIEW", "GRANT TEMP"])
def test_what_a_failed_creation_left_is_removed(sql: str, ask: Ask, warehouse: Warehouse) -> None:
    warehouse.fail = sql
    failed = ask("Create")
    assert failed["Status"] == "FAILED"
    assert "permission denied for database image_lake" in failed["Reason"]

    assert ask("Delete")["Status"] == "SUCCESS"
    assert (warehouse.inside.schemas, warehouse.inside.views, warehouse.limits) == ({"public"}, set(), {})


def test_a_creation_that_failed_half_way_can_be_done_again(ask: Ask, warehouse: Warehouse) -> None:
    warehouse.fail = "CREATE VIEW"
    ask("Create")
    assert "analytics" not in warehouse.inside.schemas, "the transaction was rolled back"
    warehouse.fail = "nothing"

    assert ask("Create")["Status"] == "SUCCESS"
    assert warehouse.inside == EVERYTHING


def test_a_warehouse_that_is_gone_counts_as_removed(ask: Ask, warehouse: Warehouse) -> None:
    ask("Create")
    warehouse.exists = False
    ran = len(warehouse.transactions)

    assert ask("Delete")["Status"] == "SUCCESS"
    assert len(warehouse.transactions) == ran


def test_a_warehouse_that_is_gone_cannot_be_configured(ask: Ask, warehouse: Warehouse) -> None:
    warehouse.exists = False

    answer = ask("Create")

    assert answer["Status"] == "FAILED"
    assert "ResourceNotFoundException" in answer["Reason"]


@pytest.mark.parametrize("request_type", ["Create", "Delete"])
def test_a_statement_that_hangs_fails_with_time_left_to_say_so(
    request_type: str, ask: Ask, warehouse: Warehouse, clock: Clock
) -> None:
    ask("Create")
    warehouse.hang = "SCHEMA"

    answer = ask(request_type)

    assert answer["Status"] == "FAILED"
    assert re.search(r"Timeout on statement \S+, which was STARTED: (CREATE EXTERNAL|DROP) SCHEMA", answer["Reason"])
    assert TIMEOUT / 2 < clock.now < TIMEOUT - 30


@pytest.mark.parametrize("operation", ["GetNamespace", "CreateUsageLimit", "ExecuteStatement", "DescribeStatement"])
def test_a_call_that_is_denied_is_named_in_the_reason(operation: str, ask: Ask, warehouse: Warehouse) -> None:
    warehouse.refuse = {operation}

    answer = ask("Create")

    assert answer["Status"] == "FAILED"
    assert f"not authorized to perform: {operation}" in answer["Reason"]


def test_a_limit_that_is_no_number_is_refused(ask: Ask, warehouse: Warehouse) -> None:
    answer = ask("Create", DailyRpuHours="much")

    assert answer["Status"] == "FAILED"
    assert "DailyRpuHours" in answer["Reason"]
    assert warehouse.calls == []


# Answers


def test_the_answer_is_tried_again(ask: Ask, cloudformation: CloudFormation) -> None:
    cloudformation.refusals = 2

    assert ask("Create")["Status"] == "SUCCESS"
    assert len(cloudformation.answers) == 1


@pytest.mark.parametrize("listens", [True, False])
def test_an_answer_that_does_not_arrive_raises_and_tells_nobody_the_signed_address(
    listens: bool, ask: Ask, cloudformation: CloudFormation, logs: StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    cloudformation.refusals = 100
    if not listens:
        cloudformation.url = "http://127.0.0.1:1/answer?X-Amz-Signature=5ec7e7"

    with pytest.raises(Fault, match="on answering CloudFormation") as raised:
        ask("Create")

    assert "5ec7e7" not in str(raised.value)
    assert raised.value.__suppress_context__
    assert "5ec7e7" not in logs.getvalue() + caplog.text


def test_the_answer_is_put_without_a_content_type_as_it_was_signed(ask: Ask, cloudformation: CloudFormation) -> None:
    ask("Create")

    assert cloudformation.content_types == [""]


def test_an_answer_has_at_most_4096_bytes(ask: Ask, warehouse: Warehouse, cloudformation: CloudFormation) -> None:
    warehouse.fail = "EXTERNAL SCHEMA"
    warehouse.error = "ß" * 5_000

    assert ask("Create")["Status"] == "FAILED"
    assert cloudformation.bytes <= 4_096


# SQL

STATEMENTS = [
    SETTINGS.external_schema(), f"CREATE ROLE {redshift.ROLE}", *SETTINGS.view_and_grants(),
]  # fmt: skip


@pytest.mark.parametrize("sql", STATEMENTS)
def test_a_statement_is_one_statement_of_redshift(sql: str) -> None:
    [parsed] = sqlglot.parse(sql, dialect="redshift")

    known_to_redshift_only = sql.startswith(("CREATE EXTERNAL SCHEMA", "CREATE ROLE"))
    assert isinstance(parsed, expressions.Command) == known_to_redshift_only


def test_the_external_schema_is_the_glue_database_read_in_the_role_of_spectrum() -> None:
    assert SETTINGS.external_schema() == (
        "CREATE EXTERNAL SCHEMA IF NOT EXISTS lake FROM DATA CATALOG "
        "DATABASE 'image_lake_test' IAM_ROLE 'arn:aws:iam::1:role/x'"
    )


def test_the_view_is_bound_late_and_has_every_column_that_is_neither_nested_nor_personal() -> None:
    personal = grants.read(ROOT / grants.FILE).columns.personal
    sql = redshift.view("images")

    assert sql.endswith(" WITH NO SCHEMA BINDING")
    assert _query(sql, "redshift").named_selects == [
        *(name for name in COLUMNS if name not in (*personal, "derivatives")),
        "ingest_date",
        "hour",
    ]


ROWS = [
    ("one", "failed", None, "2026-11-22", "09"),
    ("one", "processed", "2026-11-22 09:31:00", "2026-11-22", "09"),
    ("one", "failed", "2026-11-22 09:30:00", "2026-11-22", "09"),
    ("two", "rejected", None, "2026-11-22", "09"),
    ("two", "failed", None, "2026-11-22", "09"),
    ("three", "processed", "2026-11-22 10:00:00", "2026-11-22", "10"),
    ("three", "processed", "2026-11-22 10:00:00", "2026-11-22", "10"),
]
LATEST = [
    ("one", "processed", "2026-11-22 09:31:00"),
    ("three", "processed", "2026-11-22 10:00:00"),
    ("two", "failed", None),
]


def _query(sql: str, dialect: str) -> expressions.Select:
    """The query of a view, from its statement or by itself."""
    query = sqlglot.parse_one(sql, dialect=dialect).find(expressions.Select)
    assert query is not None
    return query


def _rows(query: str) -> list[tuple[Any, ...]]:
    """What a query in DuckDB's SQL gives over `ROWS`, by image."""
    with duckdb.connect() as database:
        database.execute("CREATE SCHEMA lake; SET search_path = 'lake'")
        columns = ", ".join(f'"{name}" VARCHAR' for name in [*COLUMNS, "ingest_date", "hour"])
        database.execute(f"CREATE TABLE images ({columns})")
        database.executemany(
            "INSERT INTO images (image_id, status, processed_at, ingest_date, hour) VALUES (?, ?, ?, ?, ?)", ROWS
        )
        selected = ", ".join(redshift.VIEW_COLUMNS)
        return database.execute(f"SELECT {selected} FROM ({query}) ORDER BY image_id").fetchall()  # noqa: S608  # ours


def test_the_view_has_one_row_an_image_and_that_is_the_latest() -> None:
    query = _query(redshift.view("images"), "redshift").sql(dialect="duckdb")

    places = [redshift.VIEW_COLUMNS.index(name) for name in ("image_id", "status", "processed_at")]
    assert [tuple(row[place] for place in places) for row in _rows(query)] == LATEST


def test_redshift_and_athena_have_the_same_view_but_for_nested_columns() -> None:
    ours = _query(redshift.view("images"), "redshift")
    theirs = _query((ROOT / "analytics/views/current_images.sql").read_text(encoding="utf-8"), "athena")

    assert [name for name in theirs.named_selects if name not in ("tags", "derivatives")] == redshift.VIEW_COLUMNS
    assert _rows(ours.sql(dialect="duckdb")) == _rows(theirs.sql(dialect="duckdb"))
