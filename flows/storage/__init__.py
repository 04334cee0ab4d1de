"""Files on this machine: immutable snapshots, digests, locks."""
