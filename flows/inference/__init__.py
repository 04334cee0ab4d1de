"""Inference by registered models: answers, scores, RewardBench. Start in `ask`."""
