"""Tests that share two servers."""
