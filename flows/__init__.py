"""The pipeline: what runs when, what is remembered, what people are told. Start in `pipeline.ladder`."""
