"""What each mitigation is worth in the embedded world with biased annotators, over seeds, with the truth beside it."""
