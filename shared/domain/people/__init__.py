"""The users' entitlements: facts from every source, folded, and what follows from them."""
