"""`imagelake users`: a password is printed as soon as it holds, for nobody can read it afterwards."""

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from imagelake_cli import connection
from imagelake_cli.main import app
from imagelake_cli.user_pool import UserPool


class FakePool:
    """Remembers passwords, and refuses groups."""

    def __init__(self) -> None:
        self.passwords: dict[str, str] = {}

    def add(self, name: str, password: str) -> None:
        self.passwords[name] = password

    def join(self, _name: str, _group: str) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "AdminAddUserToGroup")


def test_the_password_is_printed_though_the_group_refuses_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = FakePool()
    monkeypatch.setattr(connection, "user_pool", lambda *_: pool)

    result = CliRunner().invoke(app, ["users", "add", "ada", "--operator"])

    assert result.exit_code == 1
    assert result.stdout == f"{pool.passwords['ada']}\n"
    assert "AdminAddUserToGroup" in result.stderr


class Cognito:
    """Knows the groups `uploaders` and, once made, others."""

    exceptions = SimpleNamespace(GroupExistsException=KeyError)

    def __init__(self) -> None:
        self.groups = {"uploaders"}
        self.members: list[tuple[str, str]] = []

    def create_group(self, UserPoolId: str, GroupName: str) -> None:  # noqa: ARG002, N803
        if GroupName in self.groups:
            raise self.exceptions.GroupExistsException(GroupName)
        self.groups.add(GroupName)

    def admin_add_user_to_group(self, UserPoolId: str, Username: str, GroupName: str) -> None:  # noqa: ARG002, N803
        assert GroupName in self.groups
        self.members.append((Username, GroupName))


def test_the_group_of_a_tenant_is_made_for_its_first_member() -> None:
    cognito: Any = Cognito()
    pool = UserPool(cognito, "pool")

    for name, group in (("ada", "tenant-acme"), ("bob", "tenant-acme"), ("bob", "uploaders")):
        pool.join(name, group)

    assert cognito.groups == {"uploaders", "tenant-acme"}
    assert cognito.members == [("ada", "tenant-acme"), ("bob", "tenant-acme"), ("bob", "uploaders")]


def test_a_group_that_means_nothing_is_refused() -> None:
    result = CliRunner().invoke(app, ["users", "group", "ada", "admins"])

    assert result.exit_code == 2
    assert "'admins' is none of uploaders, operators and tenant-NAME" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("remove", "said"), [((), "ada: in uploaders\n"), (("--remove",), "ada: no longer in uploaders\n")]
)
def test_it_is_said_who_is_in_which_group(remove: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = SimpleNamespace(join=lambda *_: None, leave=lambda *_: None)
    monkeypatch.setattr(connection, "user_pool", lambda *_: pool)

    assert CliRunner().invoke(app, ["users", "group", "ada", "uploaders", *remove]).stdout == said


@pytest.mark.parametrize(
    "arguments", [["add", "ada", "--tenant", "Acme"], ["add", "ada", "--tenant", ""], ["group", "ada", "tenant-a.b"]]
)
def test_a_tenant_that_no_image_could_have_is_refused(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["users", *arguments])

    assert result.exit_code == 2
    assert "small letters" in result.stderr
