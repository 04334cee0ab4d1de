"""Files on this machine: snapshots, digests, locks, cached results. Start in `snapshots`."""
