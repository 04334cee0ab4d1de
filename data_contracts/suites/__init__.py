"""Great Expectations suites, one file per kind of data."""
