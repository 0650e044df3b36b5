"""The actions on a user's own service account."""

from __future__ import annotations

from shared.domain.plan.plan import Action, Activity
from shared.domain.record.status import ConditionType
from shared.domain.things.identity import AccountId, UserEmail


class CreateAccount(Action, frozen=True, kw_only=True):
    """The action that creates the user's own service account."""

    condition = ConditionType.IDENTITY_READY
    target = "account_id"
    activity = Activity.CREATE
    words = "create service account {0.account_id}"

    account_id: AccountId


class ShareAccount(Action, frozen=True, kw_only=True):
    """The action that lets only `user` act as the account. If `user` is None, the action takes away all such rights."""

    condition = ConditionType.IDENTITY_READY
    target = "account_id"
    activity = Activity.ENABLE

    account_id: AccountId
    user: UserEmail | None

    def does(self) -> Activity:
        """Return the activity for the audit: access is given to the user, or taken away."""
        return Activity.ENABLE if self.user is not None else Activity.DISABLE

    def describe(self) -> str:
        """Return the action in words."""
        whom = "its owner alone" if self.user is not None else "no one"
        return f"share service account {self.account_id} with {whom}"


class EnableAccount(Action, frozen=True, kw_only=True):
    """The action that lets the account be used again."""

    condition = ConditionType.IDENTITY_READY
    target = "account_id"
    activity = Activity.ENABLE
    words = "enable service account {0.account_id}"

    account_id: AccountId


class DisableAccount(Action, frozen=True, kw_only=True):
    """The action that disables the account, so that even tokens that were issued before stop working."""

    condition = ConditionType.IDENTITY_READY
    target = "account_id"
    activity = Activity.DISABLE
    words = "disable service account {0.account_id}"

    account_id: AccountId


class DeleteAccount(Action, frozen=True, kw_only=True):
    """The action that deletes the user's own service account."""

    condition = ConditionType.IDENTITY_READY
    target = "account_id"
    activity = Activity.DELETE
    words = "delete service account {0.account_id}"
    written_first = True

    account_id: AccountId


class JoinGroup(Action, frozen=True, kw_only=True):
    """The action that makes the account a member of the group that has the profile's data roles."""

    condition = ConditionType.IDENTITY_READY
    target = "group"
    activity = Activity.ENABLE
    words = "add service account {0.account_id} to {0.group}"

    account_id: AccountId
    group: str


class LeaveGroup(Action, frozen=True, kw_only=True):
    """The action that removes the account from a group."""

    condition = ConditionType.IDENTITY_READY
    target = "group"
    activity = Activity.DISABLE
    words = "take service account {0.account_id} out of {0.group}"

    account_id: AccountId
    group: str


AccountAction = CreateAccount | ShareAccount | EnableAccount | DisableAccount | DeleteAccount | JoinGroup | LeaveGroup
