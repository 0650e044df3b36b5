"""What there is: people's keys, profiles, instances, snapshots, clusters, errors and times. Types and names; nothing is decided here."""
