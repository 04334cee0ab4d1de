"""Contracts row by row: named rules with reasons and mends. Start in `validation`; a module for each kind of data."""
