"""How a run of the pipeline begins and ends: its MLflow run, and what is said about it however it ends."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.data.relabel.relabel import WaitingForLabels
from flows.pipeline.families import check_families
from flows.pipeline.gating import StoppedByGate
from flows.pipeline.orphans import end_orphans, flow_run_tag
from flows.pipeline.outside_functions import check_outside_measures
from flows.pipeline.run import MEASURED, TRAINED, LadderRun
from flows.promotion.history import settle
from flows.registry.client import open_registry
from flows.registry.context import RunContext
from flows.registry.external_models import registered
from flows.registry.keys import code_version
from flows.registry.lineage_events import PIPELINE, LineageEvents, LineageRun
from flows.registry.names import CODE_TAG, CONFIGURATION, EVALUATION, OUTCOME_TAG, STAGE_TAG, data_experiment
from flows.registry.references import Round
from flows.registry.statements import log_of
from flows.stages.progress import course
from flows.stages.reward_inputs import resolve_reward
from rlhf_core.gates.gate import blocked
from rlhf_core.training.stage import OutOfTime


@contextmanager
def open_run(
    config: LadderConfig, arguments: str, *, what: str = "ladder", before: Sequence[Round] = (), last: bool = True
) -> Iterator[LadderRun]:
    """Open a run that trains; at its end, its versions get the alias if every gate passed.

    Args:
        config: what to train.
        arguments: how the configuration is named on a command line, for the hints of the summary.
        what: the ladder, or the stage that is trained alone.
        before: the rounds that it follows.
        last: whether no round follows it.

    Yields:
        The run.

    Raises:
        InputError: before any work, if something that the reward names, or a model that is taken, cannot be had, or a
            model of the hub is of a family that a later stage would refuse.
    """
    check_families(config)
    run = _started(config, arguments, what=what, verb=TRAINED, before=before, last=last)
    with _ended(run):
        yield run
        run.set_alias()


@contextmanager
def open_evaluation(config: LadderConfig, arguments: str) -> Iterator[LadderRun]:
    """Open a run that measures registered models; it sets no alias. Arguments and errors as of `open_run`."""
    run = _started(config, arguments, what=EVALUATION, verb=MEASURED, before=(), last=True)
    with _ended(run):
        yield run


def _started(
    config: LadderConfig, arguments: str, *, what: str, verb: str, before: Sequence[Round], last: bool
) -> LadderRun:
    """A run with its MLflow run, after runs that were killed have been ended."""
    registry = open_registry(config.project, config.storage, config.audit)
    data = open_registry(data_experiment(config.project), config.storage)  # refused now, if that was deleted
    rewards = resolve_reward(config.policy.reward, registry)
    check_outside_measures(config)
    for ref in (*rewards.models.values(), *(registered(source, registry) for source in config.taken_models.values())):
        if ref is not None:
            registry.folder(ref)  # a file that is missing or altered ends the run now, not hours later
    end_orphans(registry)
    end_orphans(data)
    settle(registry)
    log_of(registry).publish()
    run_tags = {STAGE_TAG: what, CODE_TAG: code_version(), **flow_run_tag()}
    run_id = registry.start_run(what, tags=run_tags)
    registry.log_params(run_id, config.model_dump(mode="json", exclude={"gates"}))
    registry.client.log_dict(run_id, config.model_dump(mode="json"), CONFIGURATION)
    budget = config.compute.budget_seconds
    context = RunContext(
        project=config.project,
        seed=config.seed,
        storage=config.storage,
        threads=config.threads,
        run_id=run_id,
        until=None if math.isinf(budget) else time.monotonic() + budget,
        compute=config.compute,
        evidence=config.evidence,
        lineage=config.lineage,
        audit=config.audit,
    )
    return LadderRun(config, context, arguments, rewards, what=what, verb=verb, before=before, last=last)


@contextmanager
def _ended(run: LadderRun) -> Iterator[None]:
    """End the MLflow run with a summary, or with the reason why there is none."""
    registry, run_id = run.context.registry(), run.context.run_id
    try:
        # the ladder's heartbeat speaks for its stages, whose own would hold the end of each for up to a second
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}), _told(run), course():
            yield
    except StoppedByGate as stop:
        run.finish("FAILED", str(stop), _why_no_alias(run, f"gates stopped it at {stop.stage}"))
        raise
    except WaitingForLabels as wait:
        run.finish("FINISHED", str(wait), "the round goes on once the answers are labelled")
        raise
    except OutOfTime as over:
        outcome = f"out of time, as compute.max_hours or max_cost says: {over}; run again to go on"
        run.finish("KILLED", outcome, "the climb is not finished")
        raise
    except InputError as error:
        registry.try_to_end(run_id, "FAILED", {OUTCOME_TAG: str(error)[:5000]}, error)
        raise
    except BaseException as error:
        outcome = f"interrupted by {type(error).__name__}: {error}"[:5000]
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        registry.try_to_end(run_id, status, {OUTCOME_TAG: outcome}, error)
        raise
    run.finish("FINISHED", run.outcome(), _why_no_alias(run))


@contextmanager
def _told(run: LadderRun) -> Iterator[None]:
    """Tell in lineage events of the run, around those of its parts."""
    events = LineageEvents(run.config.project, run.config.lineage.openlineage)
    with events.of(LineageRun(PIPELINE, run.context.run_id, tags={"flow": run.what})):
        yield


def _why_no_alias(run: LadderRun, stopped: str = "") -> str:
    """Why the versions of a run have no alias of it, where they have none."""
    if stopped or run.verb == MEASURED:
        return stopped if run.verb == TRAINED else "an evaluation sets none"
    if run.withdrawn:
        return "; ".join(verdict.explanation for verdict in run.withdrawn)
    if run.config.gates.mode == "advisory":
        verdicts = list(chain.from_iterable(run.verdicts.values()))
        names = ", ".join(each.gate for each in blocked(verdicts, abstain_blocks=run.config.gates.abstain_blocks))
        enforced = f"enforced, it would have stopped at {names}" if names else "no gate would have stopped it"
        return f"gates.mode is advisory, which sets none; {enforced}"
    return "the run that this one repeats has none" if run.earlier is not None else "not all gates passed"
