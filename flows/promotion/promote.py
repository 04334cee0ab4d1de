"""Who becomes champion: proposals, promotion and roll-back."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress

from flows.config.errors import InputError
from flows.config.lineage import OpenLineageConfig
from flows.promotion.history import (
    PROMOTE,
    ROLLBACK,
    How,
    PromotionRecord,
    history,
    project_of,
    recorded_promotion,
    settle,
)
from flows.registry.client import Registry
from flows.registry.differences import differences
from flows.registry.lookup import named_version, require_project
from flows.registry.names import CHAMPION, GATE_PREFIX, PASSED, STATUS_TAG
from flows.registry.references import ModelRef
from flows.registry.tags import withdrawn_marks
from rlhf_core.config import Frozen


class PromotionRefused(Exception):
    """A version whose gates did not pass; exit code 3."""


class Proposal(Frozen):
    """A version that may become champion.

    Attributes:
        champion: what it would replace, None where there is none.
        blocking: gates that did not pass, or what else speaks against the version; empty where all passed.
        differences: what went into it that did not go into the champion.
    """

    version: ModelRef
    champion: ModelRef | None
    blocking: tuple[str, ...]
    differences: tuple[str, ...]


def propose(registry: Registry, model: str) -> Proposal:
    """Look up what a promotion would do.

    Args:
        registry: where the versions are.
        model: `name` for its challenger, `name/version` or `name@alias`.

    Raises:
        InputError: when there is no such version, its files are not those that were registered, it belongs to another
            project, or it is champion already.
    """
    version = registry.pin(named_version(model))
    require_project(project_of(registry), version.name)
    champion = registry.champion(version.name)
    if champion == version:
        raise InputError(f"{version.label} is champion already; `rlhf history {version.name}` says since when")
    registry.verify(version)
    return Proposal(
        version=version,
        champion=champion,
        blocking=_blocking(registry, version),
        differences=tuple(differences(registry.client, version, champion)) if champion else (),
    )


def check_gates(proposal: Proposal, *, force: bool, why: str) -> None:
    """Refuse a version whose gates did not pass.

    Raises:
        PromotionRefused: naming the gates, unless forced.
        InputError: when forced without a reason.
    """
    if proposal.blocking and not force:
        raise PromotionRefused(
            f"{proposal.version.label} is not promoted: {'; '.join(proposal.blocking)}. Promote another version, "
            'or this one by --force --why "the reason", which is kept'
        )
    if proposal.blocking and not why:
        raise InputError('--force: give the reason, which is kept, as --why "the reason"')


def promote(
    registry: Registry,
    proposal: Proposal,
    *,
    by: str,
    why: str = "",
    comparison: Frozen | None = None,
    told: OpenLineageConfig | None = None,
) -> None:
    """Make a version champion, with a record of who, when, from what and why; `told` is where lineage events go.

    Raises:
        InputError: when the champion is another one than was proposed to be replaced, or files were altered since.
    """
    version = proposal.version
    with _alone(registry, version.name):
        now = registry.champion(version.name)
        if now != proposal.champion:
            raise _overtaken(version.name, now)
        _move(registry, version, now, by, why, PROMOTE, bool(proposal.blocking), comparison, told)


def roll_back(
    registry: Registry,
    ref: ModelRef,
    *,
    past: ModelRef | None,
    by: str,
    why: str = "",
    told: OpenLineageConfig | None = None,
) -> None:
    """Make an earlier champion champion again, with a record; its gates are not asked again.

    Args:
        registry: where the versions are.
        ref: as `earlier_champion` gives it.
        past: who was champion when that was asked.
        by: who does it.
        why: the reason, may be empty.
        told: where lineage events go.

    Raises:
        InputError: when the champion has changed meanwhile, so that another version may be the one to go back to, or
            the files of that version are not those that were registered.
    """
    with _alone(registry, ref.name):
        now = registry.champion(ref.name)
        if now != past:
            raise _overtaken(ref.name, now)
        _move(registry, ref, now, by, why, ROLLBACK, False, None, told)


def earlier_champion(registry: Registry, model: str) -> ModelRef:
    """A champion to go back to: of a `name` the last one before the present one, after a roll-back the one before that.

    Args:
        registry: where the versions are.
        model: `name`, or `name/version` for one further back.

    Raises:
        InputError: when there was none, it is gone, or all were trained on data that have been withdrawn since.
    """
    name, _, wanted = model.partition("/")
    require_project(project_of(registry), name)
    champion = registry.champion(name)
    candidates = _champions(history(registry, name), champion.version if champion else None)
    if wanted and wanted not in candidates:
        was = ", ".join(candidates) or "none"
        raise InputError(f"{model} was no champion before the present one; of {name} these were: {was}")
    withdrawn = 0
    for version in [wanted] if wanted else reversed(candidates):
        with suppress(InputError):  # that version was deleted
            earlier = registry.reference(name, version)
            if not withdrawn_marks(registry.client.get_model_version(name, version).tags):
                return earlier
            withdrawn += 1
    passed_over = f" but {withdrawn} that were trained on withdrawn data" if withdrawn else ""
    raise InputError(f"{model} has no earlier champion{passed_over}; `rlhf history {name}` lists those that were")


def _alone(registry: Registry, name: str) -> AbstractContextManager[None]:
    """One move of a champion at a time: who waited checks what the one before left.

    The lock is a file in the storage folder, so it covers all processes that share that folder. Machines with storage
    of their own do not see each other's locks, and MLflow has no move that depends on what the alias was: there the
    later of two at once wins, both are in the history, and the `from` of the later may be out of date.
    """
    return registry.alone(f"{CHAMPION}-{name}")


def _overtaken(name: str, now: ModelRef | None) -> InputError:
    return InputError(f"{name}: {now.label if now else 'nothing'} is champion by now; look again")


def _move(
    registry: Registry,
    version: ModelRef,
    previous: ModelRef | None,
    by: str,
    why: str,
    how: How,
    forced: bool,
    comparison: Frozen | None,
    told: OpenLineageConfig | None,
) -> None:
    """Record first: what sees the alias move then finds the record of it. No version without its files gets so far."""
    registry.verify(version)
    settle(registry)
    with recorded_promotion(
        registry,
        model=version.name,
        version=version.version,
        previous=previous.version if previous else None,
        by=by,
        why=why,
        how=how,
        forced=forced,
        comparison=comparison,
        told=told,
    ):
        registry.set_alias(version, CHAMPION)


def _champions(moves: Sequence[PromotionRecord], now: str | None) -> list[str]:
    """Those that can be gone back to, the last one last: what was promoted, less what was rolled back."""
    stack: list[str] = []
    for move in reversed(moves):
        if move.how == ROLLBACK and move.version in stack:
            while stack[-1] != move.version:
                stack.pop()
            continue
        if move.previous and stack[-1:] != [move.previous]:  # an unrecorded move came between
            stack.append(move.previous)
        stack.append(move.version)
    if now is not None and stack[-1:] != [now]:
        stack.append(now)
    return [version for version in stack[: -1 if now else None] if version != now]


def _blocking(registry: Registry, ref: ModelRef) -> tuple[str, ...]:
    tags = registry.client.get_model_version(ref.name, ref.version).tags
    status, withdrawn = tags.get(STATUS_TAG), tuple(f"trained on {said}" for said in withdrawn_marks(tags))
    if status == PASSED:
        return withdrawn
    if status is None:
        return (*withdrawn, "no gate has judged it")
    verdicts = {key.removeprefix(GATE_PREFIX): tag for key, tag in tags.items() if key.startswith(GATE_PREFIX)}
    bad = [
        f"gate {gate} says {verdict}" for gate, verdict in sorted(verdicts.items()) if verdict in ("fail", "abstain")
    ]
    return (*withdrawn, *(bad or ["its gates did not pass"]))
