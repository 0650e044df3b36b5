"""The HTTP transport, the clients on it, and the translation of errors."""
