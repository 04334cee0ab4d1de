"""The embedded world: a help desk for twelve household things, with a known gold reward. Start in `gold`."""
