"""How good: what ladder, gates and mitigations reach where the truth is known, and what public data are worth."""
