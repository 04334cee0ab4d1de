"""The configuration of a run: a tree of pydantic models that a YAML file mirrors. Start in `ladder`."""
