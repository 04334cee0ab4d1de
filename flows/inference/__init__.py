"""Registered models asked: answers, scores, RewardBench."""
