"""Audits of labels, prompts and lengths before anything is trained. Start in `labels`."""
