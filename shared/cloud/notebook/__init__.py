"""Instances, their snapshots, and what is seen of their use."""
