"""Responses of a policy: sampling engines, and rollouts as tensors."""
