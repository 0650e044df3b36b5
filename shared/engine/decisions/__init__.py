"""What administrators decide, and changes of policy."""
