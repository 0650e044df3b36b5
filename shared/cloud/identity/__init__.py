"""The adapters to service accounts, groups and sign-ins."""
