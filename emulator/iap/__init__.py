"""The emulated Identity-Aware Proxy: it asks users to sign in, signs their identity, and passes their requests on to the hub page's function."""
