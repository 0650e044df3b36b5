"""The shared types and names: user keys, profiles, instances, snapshots, clusters, errors and times. No module plans anything."""
