"""Service accounts, groups and sign-ins."""
