"""The user pool of a stack, as its operators see it."""

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imagelake.model import TENANT_GROUP

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient


@dataclass(frozen=True)
class UserPool:
    """A pool, by its id; every method raises `ClientError` where Cognito refuses."""

    client: "CognitoIdentityProviderClient"
    pool_id: str

    def add(self, name: str, password: str) -> None:
        """Add a user, who need not choose another password; nobody is sent a message."""
        self.client.admin_create_user(UserPoolId=self.pool_id, Username=name, MessageAction="SUPPRESS")
        self._set(name, password)

    def reset(self, name: str, password: str) -> None:
        """Give a user another password, and end all sessions."""
        self._set(name, password)
        self.client.admin_user_global_sign_out(UserPoolId=self.pool_id, Username=name)

    def join(self, name: str, group: str) -> None:
        """Put a user into a group; that of a tenant is made when its first member comes."""
        if group.startswith(TENANT_GROUP):
            with suppress(self.client.exceptions.GroupExistsException):
                self.client.create_group(UserPoolId=self.pool_id, GroupName=group)
        self.client.admin_add_user_to_group(UserPoolId=self.pool_id, Username=name, GroupName=group)

    def leave(self, name: str, group: str) -> None:
        """Take a user out of a group."""
        self.client.admin_remove_user_from_group(UserPoolId=self.pool_id, Username=name, GroupName=group)

    def _set(self, name: str, password: str) -> None:
        self.client.admin_set_user_password(UserPoolId=self.pool_id, Username=name, Password=password, Permanent=True)
