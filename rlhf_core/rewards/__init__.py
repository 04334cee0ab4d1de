"""What PPO maximises: the reward model, further terms, and their weighted sum. Start in `reward`."""
