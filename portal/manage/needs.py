"""The reasons why a user needs attention, the most dangerous first, each with its text and advice."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Need(Struct, frozen=True):
    """A reason why a user needs attention (a result of `needs_person`) in words, with advice; the operations handbook has the details."""

    text: str
    advice: str


# In the order of danger: access that remains, data at risk, open decisions, faults, and at last mere costs.
NEEDS: Mapping[str, Need] = {
    "AccessNotCut": Need(
        "Leavers still have a running notebook",
        "Benchkeeper keeps trying to stop the notebook. Stop it in the Google Cloud console if that is possible there.",
    ),
    "UnknownLeaver": Need(
        "Leavers with an unknown address",
        "If a known person was meant, publish the leaver under that address. "
        "If not, run benchkeeper acknowledge USER. The line disappears after 30 days.",
    ),
    "StillListed": Need(
        "Leavers still listed as active by HR", "Ask HR which is right. Access stays ended until HR cancels the leave."
    ),
    "SuspendedLong": Need(
        "Accounts suspended for a long time", "Ask HR whether the person has left. Their data is kept until then."
    ),
    "NewsNotUnderstood": Need(
        "Messages about a person that could not be processed",
        "Open the person's page, then View or Replay the message.",
    ),
    "DataMissing": Need(
        "Files not where they should be", "Look in the person's history for the last snapshot or disk that existed."
    ),
    "SnapshotFailed": Need(
        "Files that could not be saved", "The files are still on their disk. The log has the cause."
    ),
    "CutWaits": Need("People wait to lose access", "Approve or reject their list under Changes."),
    "GroupWaits": Need(
        "A group that gives access was deleted", "Approve it under Changes, or reject it if it is a mistake."
    ),
    "SamePerson": Need(
        "Addresses given to a new account",
        "Find out whether it is the same person, and decide under Changes. The old files are kept.",
    ),
    "RenameWaits": Need("New addresses to confirm", "HR announced them, the directory did not. Decide under Changes."),
    "AddressWaits": Need(
        "Addresses that may become another person's", "These people wait for 24 hours at most. No action is needed."
    ),
    "DeletedButJoined": Need(
        "Joiners with a deleted Google account", "Create the account, or restore it in the Admin console."
    ),
    "Stuck": Need("Notebooks delayed", "They should be ready by now. Open the person's page for the cause."),
    "NotAnswering": Need(
        "JupyterLab does not answer", "Restart the notebook. If that does not help, read the machine's log."
    ),
    "QuotaExhausted": Need(
        "No quota left", "Ask Google for more quota, or choose a smaller machine. Benchkeeper tries again by itself."
    ),
    "LimitReached": Need(
        "People wait because a group's limit is reached",
        "See the limits under Costs. Raise a limit in the configuration, or end access that is not used.",
    ),
    "AccessDenied": Need("A permission is missing", "Deploy again, so that the functions have their roles."),
    "OrganizationPolicy": Need(
        "Forbidden by a policy of your organization",
        "Ask for an exception; the person's page names the policy. Benchkeeper tries again by itself.",
    ),
    "Perimeter": Need(
        "Blocked by VPC Service Controls", "Ask for an exception; the person's page has the identifier of the refusal."
    ),
    "ApiDisabled": Need("An API is not enabled", "Enable the API that the person's page names."),
    "BillingDisabled": Need("Billing is off", "Link a billing account to the project."),
    "InvalidSpec": Need(
        "Google refuses the configuration", "Correct the value that the person's page names, and deploy."
    ),
    "UnknownProfile": Need("A profile is missing", "Put the profile back into the configuration, and deploy."),
    "NotOurs": Need(
        "The name is taken by something else", "Rename or remove the other resource. Benchkeeper does not change it."
    ),
    "UnknownAnswer": Need(
        "Google refused without a known reason", "The log has Google's answer. Benchkeeper tries again more slowly."
    ),
    "Blind": Need("No usage data", "These notebooks are not stopped when unused. Check their proxy agent."),
}
_OTHER = Need("Another reason", "Open the person's page for details.")


def need_of(why: str) -> Need:
    """Return the texts for a reason; neutral texts for a reason of a newer version."""
    return NEEDS.get(why, _OTHER)


def by_danger(needs: Mapping[str, int]) -> dict[str, int]:
    """Return the counts by reason, the most dangerous reason first; reasons of a newer version last."""
    order = {why: number for number, why in enumerate(NEEDS)}
    return dict(sorted(needs.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))
