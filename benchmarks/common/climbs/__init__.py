"""Climbs of the embedded world in this process, with the recipe alone: no orchestrator, no registry."""
