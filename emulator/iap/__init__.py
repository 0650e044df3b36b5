"""The emulated Identity-Aware Proxy: it asks users to sign in, signs their identity, and stands before the hub page's function."""
