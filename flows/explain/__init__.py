"""The teaching pages of the recipe: scores from choices, the dial of |delta|, the leash of PPO."""
