"""Identity-Aware Proxy: signs who somebody is, asks who they are, and stands before the function that is the hub page."""
