"""Tests that share a stack."""
