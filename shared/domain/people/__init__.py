"""The users' entitlements: facts from every source, folded, and the conclusions from them."""
