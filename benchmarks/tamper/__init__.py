"""Tampers with a finished ladder, one after another, and whether an audit notices each."""
