"""The TLS contexts of a process: a quick one with the system's folder of certificates, and a complete one with all trusted certificates.

Reading the bundle, one file with all certificates, takes 20 ms. A folder whose file names are hashes of subjects takes no
time: OpenSSL opens only the one file that it needs. Debian and Ubuntu make folder and bundle from the same certificates
(update-ca-certificates(8)).
"""

from __future__ import annotations

import os
import re
import ssl
import threading

_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")  # how openssl-rehash(1) names certificates
_CHOSEN = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)  # OpenSSL's variables: if one is set, only the certificates that it names are trusted


def hashed_folder() -> str | None:
    """Return the system's folder of certificates; None if its files have no hashed names, or if the environment names other certificates."""
    if any(os.environ.get(name) for name in _CHOSEN):  # noqa: TID251 - as OpenSSL reads them
        return None
    folder = ssl.get_default_verify_paths().openssl_capath
    try:
        with os.scandir(folder) as found:
            return folder if any(_HASHED.fullmatch(each.name) for each in found) else None
    except OSError:
        return None


class Trust:
    """A cache of the process's two TLS contexts, each made once, on first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: ssl.SSLContext | None = None
        self._whole: ssl.SSLContext | None = None

    def first(self) -> ssl.SSLContext:
        """Return the context to try first: the one with the system's folder of certificates.

        Return the complete one if there is no such folder, or after `instead_of` was called.
        """
        with self._lock:
            if self._first is None:
                folder = hashed_folder()
                self._first = ssl.create_default_context(capath=folder) if folder else self._all()
            return self._first

    def instead_of(self, tried: ssl.SSLContext) -> ssl.SSLContext | None:
        """Return the context to try after `tried` did not trust a server; None if no context is left. From now on, `first` returns it, too.

        This is needed if an organization has added its own certificate authority only to the bundle, not to the folder.
        """
        with self._lock:
            self._first = self._all()
            return None if tried is self._first else self._first

    def _all(self) -> ssl.SSLContext:
        self._whole = self._whole or ssl.create_default_context()
        return self._whole
