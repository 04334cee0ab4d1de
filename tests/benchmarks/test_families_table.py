"""All causal families of `transformers`, each tried with a tiny model: what holds is what the page says."""

from pathlib import Path

import pytest
import torch

from benchmarks.families.__main__ import PAGE
from benchmarks.families.configurations import FAMILIES, NOT_BUILT
from benchmarks.families.table import exactness, family_table
from benchmarks.families.trial import EXACT, Trial, gradient_gap, try_families, try_family


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return list(try_families())
    finally:
        torch.set_num_threads(threads)


@pytest.mark.slow  # half a minute for both
def test_every_family_is_exact_or_refused_in_words(trials: list[Trial]) -> None:
    assert len(trials) == len(FAMILIES) > 150
    for trial in trials:
        assert not trial.broken, trial
        assert trial.refused or (trial.policy_gap <= EXACT and trial.score_gap <= EXACT), trial
        assert trial.refused or trial.classifier or trial.classifier_refused, trial


@pytest.mark.slow
def test_the_page_says_what_is_seen(trials: list[Trial]) -> None:
    """`python -m benchmarks.families fill` renews it; read what changed first."""
    text = PAGE.read_text(encoding="utf-8")
    said = text.partition("<!-- families -->\n")[2].partition("<!-- /families -->\n")[0].splitlines()
    assert said == list(family_table(trials))


def linear(*gradients: list[float] | None) -> torch.nn.Module:
    model = torch.nn.Sequential(*(torch.nn.Linear(2, 1, bias=False) for _ in gradients))
    for weights, gradient in zip(model.parameters(), gradients, strict=True):
        weights.grad = None if gradient is None else torch.tensor([gradient])
    return model


def test_a_lost_gradient_is_a_gap_however_small() -> None:
    stock = linear([4.0, 0.0], [1e-6, 0.0], None)
    assert gradient_gap(linear([4.0, 1.0], [0.0, 0.0], None), stock) == 0.25
    assert gradient_gap(linear([4.0, 0.0], [1e-6, 0.0], [0.0, 0.0]), stock) == 0.0  # not used either
    for lost in (linear([4.0, 0.0], None, None), linear([4.0, 0.0], [1e-6, 0.0], [1e-6, 0.0])):
        assert gradient_gap(lost, stock) == float("inf")
    assert gradient_gap(linear([4.0, float("nan")], [1e-6, 0.0], None), stock) == float("inf")


def test_a_family_that_breaks_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(family: str, folder: object) -> Trial:
        if family == "gpt2":
            raise RuntimeError("\nit is gone\nfor good")
        return Trial(family, "rows", 1e-6, "stock", 0.03)

    monkeypatch.setattr("benchmarks.families.trial.try_family", fails)
    lines = [*family_table(list(try_families(["gpt2", "llama"])))]
    assert "| `gpt2` | **breaks**: RuntimeError: it is gone |  |  |  |" in lines
    assert "| `llama` | rows | 0.0001 | stock | **off by 0.1** |" in lines
    assert len(lines) == 2 + 2 + len(NOT_BUILT)


@pytest.mark.parametrize(
    ("gap", "text"),
    [
        (0.0, "0.0001"),
        (1e-4, "0.0001"),
        (2e-4, "**off by 0.001**"),
        (3.0, "**off by 10**"),
        (float("inf"), "**not finite**"),
    ],
)
def test_exactness_is_a_limit_or_the_power_of_ten_that_a_difference_stays_below(gap: float, text: str) -> None:
    assert exactness(gap) == text


def test_a_score_that_is_off_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlhf_core.models.forward.score_head", lambda model: lambda states: 1.01 * model.score(states))
    assert try_family("llama", tmp_path).score_gap > 10 * EXACT
