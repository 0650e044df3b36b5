"""The fleet of all users: drift, idleness, figures."""
