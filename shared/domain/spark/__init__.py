"""The user's clusters and sessions: the actions and the steps."""
