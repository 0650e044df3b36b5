"""What a change of policy does to everybody."""
