"""Base models that are trained from scratch. Start in `from_text`; `embedded` is that of the embedded world."""
