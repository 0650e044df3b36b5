"""The policies of Cloud KMS keys. A test creates keys with `add`; the API can neither create nor use them."""

from __future__ import annotations

from emulator.admin.ground import Ask, Ground, Handler, Json
from emulator.errors import ApiError
from emulator.model.iam_policy import Policy

_USER = "roles/cloudkms.cryptoKeyEncrypterDecrypter"


class Keys:
    """A service with the policies of keys, stored by `projects/P/locations/L/keyRings/R/cryptoKeys/K`."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.policies: dict[str, Policy] = {}

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by method id."""
        keys = "cloudkms.projects.locations.keyRings.cryptoKeys"
        return {
            f"{keys}.get": self.get,
            f"{keys}.getIamPolicy": lambda ask: self._policy(ask.of("resource")).view(ask.policy_version()),
            f"{keys}.setIamPolicy": self.set_policy,
        }

    def add(self, name: str) -> None:
        """Create a key with an empty policy; do nothing if the key exists."""
        self.policies.setdefault(name, Policy())

    def check_use(self, name: str, email: str) -> None:
        """Raise 403, worded as by Cloud Storage, unless the account may use the key."""
        policy = self.policies.get(name)
        granted = [] if policy is None else policy.bindings
        if not any(b["role"] == _USER and f"serviceAccount:{email}" in b["members"] for b in granted):
            raise ApiError(
                "PERMISSION_DENIED",
                "Permission denied on Cloud KMS key. Please ensure that your Cloud Storage service account has been authorized "
                "to use this key.",
                reason="forbidden",
            )

    def get(self, ask: Ask) -> Json:
        """Answer `cryptoKeys.get`."""
        self._policy(ask.of("name"))
        return {"name": ask.of("name"), "purpose": "ENCRYPT_DECRYPT", "primary": {"state": "ENABLED"}}

    def set_policy(self, ask: Ask) -> Json:
        """Answer `cryptoKeys.setIamPolicy`."""
        return self._policy(ask.of("resource")).put(ask.body.get("policy", {}))

    def _policy(self, name: str) -> Policy:
        if name not in self.policies:
            raise ApiError("NOT_FOUND", f"CryptoKey {name} not found.")
        return self.policies[name]
