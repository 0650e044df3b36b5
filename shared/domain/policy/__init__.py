"""The effect of a change of policy on all users."""
