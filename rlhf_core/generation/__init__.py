"""Responses of a policy: sampling engines, and rollouts as tensors. Start in `sampling`, for PPO in `rollout`."""
