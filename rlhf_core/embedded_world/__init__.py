"""A help desk for twelve household things, with a known gold reward."""
