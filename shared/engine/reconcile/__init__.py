"""The pass over one user: observe, plan, carry out, save."""
