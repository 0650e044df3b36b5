"""The decisions of administrators, and changes of policy."""
