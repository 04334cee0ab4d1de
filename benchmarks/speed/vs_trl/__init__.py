"""The product beside TRL: the same model, tokens, mathematics and machine, in one run."""
