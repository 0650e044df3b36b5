"""The users' entitlements: the facts that sources state, and the decision that follows from them."""
