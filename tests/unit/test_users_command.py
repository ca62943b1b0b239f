"""`imagelake users`: a password is printed as soon as it holds, for nobody can read it afterwards."""

import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from imagelake_cli import connection
from imagelake_cli.main import app


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
