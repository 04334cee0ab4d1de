"""Commands that ask models and measure them, and show the pages of a climb."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from data_contracts.conversation import typed_prompt
from flows.cli.common import (
    PORTS,
    ConfigOption,
    ModelArgument,
    Overrides,
    check_output,
    of_registry,
    own_config,
    quietly,
)
from flows.config.misread import LARGEST_COUNT

if TYPE_CHECKING:
    from flows.config.ladder import LadderConfig


def generate(
    model: ModelArgument,
    prompts: Annotated[list[str] | None, typer.Argument(help="Prompts; without any, one per line from stdin.")] = None,
    config: ConfigOption = None,
    overrides: Overrides = None,
    temperature: Annotated[float | None, typer.Option(help="Not the configuration's; 0: the likeliest token.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_COUNT, help="Seed of the sampling.")] = 0,
) -> None:
    """Answer prompts with a registered model or a folder.

    A prompt of several turns, or with a system's turn, is typed as JSON: [{"role": "system", "content": "..."}, ...].
    """
    with quietly():
        from flows.inference.arguments import check_answers, check_temperature, check_written

        check_temperature(temperature)
        check_written(model)
        check_answers(model)
        settings = _settings_for(model, config, overrides)
        questions = [typed_prompt(prompt) for prompt in prompts or _lines(sys.stdin)]
        typer.echo(f"loading {model}", err=True)
        from flows.inference.ask import answer
        from flows.report import for_reader

        for response in answer(settings, model, questions, temperature=temperature, seed=seed):
            typer.echo(for_reader(response.text if response.finished else f"{response.text} [unfinished]"))


def score(
    model: ModelArgument,
    prompt: Annotated[str, typer.Option(help="What the user wrote.")],
    response: Annotated[list[str], typer.Option(help="What was answered; give several to compare.")],
    config: ConfigOption = None,
    overrides: Overrides = None,
) -> None:
    """Score responses by a reward model: calibrated logits, 0 is the mean of the demonstrations."""
    with quietly():
        from flows.inference.arguments import check_scores, check_written

        check_written(model)
        check_scores(model, "answers")
        settings = _settings_for(model, config, overrides)
        typer.echo(f"loading {model}", err=True)
        from flows.inference.ask import rate
        from flows.report import for_reader

        for text, value in zip(response, rate(settings, model, prompt, response), strict=True):
            typer.echo(for_reader(f"{value:+.3f}  {text}"))


def reward_bench(
    model: ModelArgument,
    pairs: Annotated[
        str,
        typer.Argument(help="Pairs in RewardBench's format: file, folder, glob, or owner/name[@revision] of the hub."),
    ],
    config: ConfigOption = None,
    overrides: Overrides = None,
    subset: Annotated[list[str] | None, typer.Option(help="Only this one; may be given several times.")] = None,
    split: Annotated[str, typer.Option(help="Of a data set of the hub.")] = "train",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    scores: Annotated[Path | None, typer.Option(help="Also write the scores of every pair, as JSON Lines.")] = None,
) -> None:
    """Hold a reward model against labelled pairs: accuracy by subset and section, and calibration."""
    with quietly():
        from flows.inference.arguments import check_scores, check_written
        from flows.inference.pair_set import read_pair_set

        check_output("--scores", scores)
        check_written(model)
        check_scores(model, "pairs")
        settings = _settings_for(model, config, overrides)
        pair_set = read_pair_set(pairs, split=split, subsets=subset or ())
        from flows.inference import reward_bench_tables as report
        from flows.inference.reward_bench import evaluate_pairs

        typer.echo(f"scoring {len(pair_set)} pairs of {pairs} by {model}", err=True)
        judged = evaluate_pairs(settings, model, pair_set)
        if scores is not None:
            scores.write_text(report.as_lines(judged), encoding="utf-8")
        typer.echo(report.as_json(judged) if as_json else report.as_text(judged), nl=False)


def ui(
    config: Annotated[
        Path | None, typer.Argument(help="Whose storage is shown; by default as of --config of other commands.")
    ] = None,
    overrides: Overrides = None,
    mlflow_port: Annotated[int, typer.Option(help="Another one is taken if it is in use.", **PORTS)] = 5000,
    prefect_port: Annotated[int, typer.Option(help="Another one is taken if it is in use.", **PORTS)] = 4200,
) -> None:
    """Open the MLflow and Prefect pages on a climb's storage until Ctrl-C."""
    with quietly():
        from flows.registry.lookup import UNNAMED, require_registry

        settings = of_registry(config, overrides, model=UNNAMED, see=require_registry)
        from flows.deploy.pages import serve_pages

        serve_pages(settings, mlflow_port=mlflow_port, prefect_port=prefect_port)


def _settings_for(model: str, config: Path | None, overrides: list[str] | None) -> "LadderConfig":
    """How a model is asked; only one of the registry needs that, and nothing is made for others."""
    from flows.inference.arguments import is_registered
    from flows.registry.lookup import require_version

    if is_registered(model):
        return of_registry(config, overrides, model=model, see=lambda: require_version(model))
    return own_config(config, overrides, model=model)


def _lines(stream: TextIO) -> list[str]:
    """The prompts of a stream, one on each line that is not empty."""
    from flows.config.errors import InputError

    try:
        lines = [line.strip() for line in stream if line.strip()]
    except UnicodeDecodeError as error:
        raise InputError(f"stdin is not UTF-8 ({error.object[error.start]:#04x}); convert it by `iconv`") from None
    if not lines:
        raise InputError("there is no prompt, neither as an argument nor on stdin")
    return lines
