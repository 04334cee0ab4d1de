"""The proportional controller of beta, by hand and as a loop."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rlhf_core.config.control import AdaptiveKLConfig, CollapseConfig, FixedKLConfig
from rlhf_core.config.ppo import PPOConfig, SeparateValueConfig
from rlhf_core.ppo.kl_controller import next_beta

ADAPTIVE = AdaptiveKLConfig(target_nats=4.0, horizon=1000)


@pytest.mark.parametrize(
    ("kl_nats", "factor"),
    [(4.0, 1.0), (4.4, 1 + 0.1 * 0.1), (3.8, 1 - 0.05 * 0.1), (9.0, 1 + 0.2 * 0.1), (-1.0, 1 - 0.2 * 0.1)],
)
def test_beta_by_hand(kl_nats: float, factor: float) -> None:
    assert next_beta(ADAPTIVE, 0.3, kl_nats=kl_nats, responses=100) == pytest.approx(0.3 * factor)


@given(st.floats(-1e3, 1e3), st.floats(1e-6, 10), st.integers(1, 1000))
def test_beta_moves_towards_the_target_by_a_fifth_of_the_share_at_most(kl: float, beta: float, responses: int) -> None:
    found = next_beta(ADAPTIVE, beta, kl_nats=kl, responses=responses)
    assert found > 0
    assert (found >= beta) if kl >= 4.0 else (found <= beta)
    assert abs(found / beta - 1) <= 0.2 * responses / 1000 + 1e-12


def test_a_loop_of_a_policy_that_answers_to_beta_settles_at_the_target() -> None:
    beta, kl = 0.01, 0.0
    for _ in range(3000):
        kl += 0.1 * (0.5 / beta - kl)  # drifts to 0.5 / beta
        beta = next_beta(ADAPTIVE, beta, kl_nats=kl, responses=100)
    assert kl == pytest.approx(4.0, rel=0.01) and beta == pytest.approx(0.125, rel=0.01)


def test_a_fixed_beta_stays() -> None:
    assert next_beta(FixedKLConfig(), 0.3, kl_nats=100.0, responses=100) == 0.3


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"kl_control": ADAPTIVE, "rollout_size": 2000}, "horizon 1000 is less than rollout_size 2000: raise it"),
        ({"kl_control": ADAPTIVE, "beta": 0.0}, "beta 0 cannot adapt"),
        (
            {"kl_estimator": "k3"},
            "k3 in the reward drives the policy away from SFT: .* remove kl_estimator",
        ),
        ({"kl_estimator": "k3", "kl_in": "reward"}, "k3 in the reward drives the policy away from SFT"),
        ({"kl_estimator": "k1", "kl_in": "loss"}, "k1 in the loss: the gradient of k1 is 0 on average there; remove"),
        ({"value": SeparateValueConfig(warmup_updates=40)}, "leaves none of 40 updates to the policy: lower it"),
        ({"collapse": CollapseConfig(repeats_within_prompt=0.5)}, "set answers_per_prompt to 2 or more"),
    ],
)
def test_what_contradicts_itself_is_refused_with_its_mend(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        PPOConfig.model_validate(fields)


@pytest.mark.parametrize("fields", [{"kl_in": "reward", "kl_estimator": "k1"}, {"kl_in": "loss", "kl_estimator": "k3"}])
def test_an_estimator_that_says_what_is_done_anyway_is_taken_and_not_kept(fields: dict[str, object]) -> None:
    found = PPOConfig.model_validate(fields)
    assert found == PPOConfig.model_validate({"kl_in": fields["kl_in"]})
    assert "kl_estimator" not in found.model_dump()
