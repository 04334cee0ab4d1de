"""The RLHF recipe: mathematics, models, training, evaluation and gates. Knows no scheduler and no registry."""
