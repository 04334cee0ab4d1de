"""Stock transformers models: loaded, read without padding, scored, adapted, saved."""
