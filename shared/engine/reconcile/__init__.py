"""One person: observe, plan, carry out, save."""
