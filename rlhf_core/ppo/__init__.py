"""Stage 3: PPO. Start in `train`; one update is in `update`, its losses in `losses`."""
