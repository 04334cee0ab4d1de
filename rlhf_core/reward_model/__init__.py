"""Stage 2: the Bradley-Terry reward model. Start in `train`; `external` takes one from elsewhere."""
