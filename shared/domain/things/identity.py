"""A user's identity, and the names of the user's resources. The names are computed from the address, with a hash of the address.

`UserEmail` is the normalised address. `UserKey` stands for the address in labels, logs and object names. `InstanceId` is the
id of the Workbench instance. The names of resources are computed once and then stored in the record.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache
from typing import Annotated, NewType

from msgspec import Meta

from shared.domain.things.errors import InvalidMessageError

UserEmail = NewType("UserEmail", str)
UserKey = NewType("UserKey", str)
InstanceId = NewType("InstanceId", str)
AccountId = NewType("AccountId", str)

MAX_EMAIL_BYTES = 254  # RFC 5321 4.5.3.1.3, less the angle brackets
MAX_INSTANCE_ID = 48  # 63 less "-data-workspace", the data disk's suffix
READABLE = 28
_READABLE_IN_ACCOUNT = 13  # IAM accepts 6 to 30 characters for the whole id
MAX_NAMING = 999
_DOMAIN_LABEL = re.compile(r"^[^\W_]([\w-]{0,61}[^\W_])?$")
_KEY = re.compile(r"[a-z][a-z0-9-]{0,27}-[0-9a-f]{12}")
_NAMED = re.compile(r"nb-([a-z][a-z0-9-]{0,27}-[0-9a-f]{12})(-[1-9][0-9]{0,2})?")
_ADDRESS = re.compile(r"[^\s@'\"<>]+@[^\s@'\"<>]+\.[^\s@'\"<>]+")
_DROPPED_QUOTES = str.maketrans("", "", "'\u2019`\"")


def parse_email(raw: object) -> UserEmail:
    """Return the normalised address: NFC, lower case, trimmed.

    Raise `InvalidMessageError`, which names the fault, for an invalid address.

    Local parts outside ASCII, apostrophes, plus tags and inner spaces are kept: the address identifies a user, so it is not
    simplified. Two addresses that differ after normalisation are two users.
    """
    if not isinstance(raw, str):
        raise _bad_email(f"is {type(raw).__name__}, not text")
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", raw.strip()).lower())
    if len(text.encode("utf-8", "replace")) > MAX_EMAIL_BYTES:
        raise _bad_email(f"is longer than {MAX_EMAIL_BYTES} bytes")
    if any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp", "Cn"} for c in text):
        raise _bad_email("holds control or invisible characters")
    local, at, domain = text.rpartition("@")
    if not at or not local:
        raise _bad_email("has no name before an @")
    # Vowel signs and accents of other scripts do not count as letters in a regular expression.
    labels = "".join(c for c in domain if not unicodedata.category(c).startswith("M")).split(".")
    if len(labels) < 2 or not all(_DOMAIN_LABEL.match(label) for label in labels):  # noqa: PLR2004 - name.tld
        raise _bad_email("has no valid domain after the @")
    if any(c.isspace() and c != " " for c in local) or local != local.strip() or "@" in local:
        raise _bad_email("has a stray @ or white space in the name")
    return UserEmail(text)


# An address in the configuration. `parse_email` reads it, so that it has the same form as addresses in messages.
Email = Annotated[str, Meta(extra={"read": parse_email})]


def _bad_email(why: str) -> InvalidMessageError:
    return InvalidMessageError(
        user_message=f"The address {why}. A valid one looks like ana.silva@example.com.",
        detail=f"user address {why}",  # the address itself stays out of the log
    )


def user_key_for(email: UserEmail) -> UserKey:
    """Return `ana-silva-` + 12 hex digits of SHA-256 over the whole normalised address; at most 41 characters."""
    digest = hashlib.sha256(email.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return UserKey(f"{_readable(email)}-{digest}")


def next_holder_key(email: UserEmail, before: UserKey) -> UserKey:
    """Return the key for a new holder of an address, after the user with the key `before`: the same readable part with another hash."""
    digest = hashlib.sha256(f"{email}\n{before}".encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return UserKey(f"{_readable(email)}-{digest}")


def parse_user_key(text: str) -> UserKey:
    """Return a text from outside as a user key. Raise `InvalidMessageError` for any other text."""
    if not _KEY.fullmatch(text):
        raise InvalidMessageError(user_message=f"'{text}' is not a user key.", detail=f"bad user key {text[:80]!r}")
    return UserKey(text)


def is_user_key(text: str) -> bool:
    """Return True if the text has the form of the user keys that this product computes."""
    return _KEY.fullmatch(text) is not None


def instance_id_for(email: UserEmail) -> InstanceId:
    """Return `nb-` + the user key: a letter first, lower case, digits and dashes, no dash last, at most 44 characters."""
    return first_instance_id(user_key_for(email))


def first_instance_id(user_key: UserKey) -> InstanceId:
    """Return the id of a user's first instance, `nb-` + the user key. The key stays the same if the address changes."""
    return InstanceId(f"nb-{user_key}")


def next_instance_id(user_key: UserKey, naming: int) -> InstanceId:
    """Return the id of a replacement, `nb-` + the user key + a number from `naming`; at most 48 characters.

    The id differs from the predecessor's, because both exist for some time. After 999 the numbers start again at 2; the
    instance that had that id was deleted long before.
    """
    return InstanceId(f"nb-{user_key}-{(naming - 2) % (MAX_NAMING - 1) + 2}")


def account_id_for(user_key: UserKey) -> AccountId:
    """Return the id of the user's own service account: `nb-`, a readable part, the key's 12 digits; 17 to 29 characters."""
    readable, _, digits = user_key.rpartition("-")
    return AccountId(f"nb-{readable[:_READABLE_IN_ACCOUNT].rstrip('-')}-{digits}")


def account_email(account_id: AccountId, project: str) -> str:
    """Return the address of a service account of this project."""
    return f"{account_id}@{project}.iam.gserviceaccount.com"


def user_key_of_instance(instance_id: str) -> UserKey | None:
    """Return the user key inside an instance id that this product computed; None for any other name."""
    match = _NAMED.fullmatch(instance_id)
    return UserKey(match[1]) if match is not None else None


def _readable(email: UserEmail) -> str:
    local = email.rpartition("@")[0].translate(_DROPPED_QUOTES)
    plain = unicodedata.normalize("NFKD", local).encode("ascii", "ignore").decode("ascii").lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if not words[:1].isalpha():
        words = f"u-{words}".rstrip("-") if words else "user"
    return words[:READABLE].rstrip("-")


@lru_cache(maxsize=1024)  # profiles and cost centres: few values, needed for every environment
def label_value(text: str) -> str:
    """Return `text` as a Google Cloud label value, `[a-z0-9_-]{0,63}`. Accents are dropped; other runs become one dash."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii").lower()
    return re.sub(r"[^a-z0-9_-]+", "-", plain).strip("-")[:63].rstrip("-")


def without_addresses(text: str) -> str:
    """Return `text` with everything that looks like an address replaced, so that text from outside can be logged."""
    return _ADDRESS.sub("<address>", text) if "@" in text else text
