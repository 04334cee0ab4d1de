"""The RLHF recipe. Start in a stage: `sft`, `reward_model`, `ppo` or `dpo`. Knows no scheduler and no registry."""
