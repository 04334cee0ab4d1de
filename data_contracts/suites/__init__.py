"""Contracts of whole tables: Great Expectations suites, one file per kind of data. Start in `checks`."""
