"""The one transport, the clients on it, and how errors are translated."""
