"""From raw files to snapshots that met their contracts. Start in `ingest`."""
