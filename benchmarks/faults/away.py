"""Faults of what a climb stands on: MLflow, Prefect and PostgreSQL away for a while or for good, and two ranks."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.faults.bench import Bench, Outcome, Watch
from benchmarks.faults.lives import Lives, Moment
from benchmarks.faults.servers import Server, mlflow_server, postgres_server, prefect_server

AWAY_SECONDS = 20.0

IN_SFT = {"point": "rlhf_core.sft:response_losses", "nth": 2, "after": True}

IN_PPO = {"point": "rlhf_core.ppo.update:penalise_unfinished", "after": True}


def mlflow_away(bench: Bench, _: int) -> Iterator[Outcome]:
    """MLflow's server killed while SFT and PPO of one climb train, back after 20 s each time."""
    storage = bench.storage("away")
    watch = Watch(bench, "MLflow's server killed in SFT and in PPO, back after 20 s", bench.ppo, storage)
    with (
        mlflow_server(storage, AWAY_SECONDS) as server,
        bench.lives(storage, **tracked(server), **victim(server)) as lives,
    ):
        yield _back(bench, watch, storage, lives, server)


def mlflow_gone(bench: Bench, _: int) -> Iterator[Outcome]:
    """MLflow's server killed while SFT trains, and away until the climb has given up."""
    storage = bench.storage("gone")
    watch = Watch(bench, "MLflow's server killed in SFT, away for good", bench.ppo, storage)
    with mlflow_server(storage, None) as server, bench.lives(storage, **tracked(server), **victim(server)) as lives:
        yield _gone(bench, watch, storage, lives, server)


def prefect_away(bench: Bench, _: int) -> Iterator[Outcome]:
    """A Prefect server killed while SFT and PPO of one climb train, back after 20 s each time."""
    storage = bench.storage("prefect-away")
    watch = Watch(bench, "Prefect's server killed in SFT and in PPO, back after 20 s", bench.ppo, storage)
    with (
        prefect_server(storage, AWAY_SECONDS) as server,
        bench.lives(storage, **orchestrated(server), **victim(server)) as lives,
    ):
        yield _back(bench, watch, storage, lives, server)


def prefect_gone(bench: Bench, _: int) -> Iterator[Outcome]:
    """A Prefect server killed while SFT trains, and away until the climb has given up."""
    storage = bench.storage("prefect-gone")
    watch = Watch(bench, "Prefect's server killed in SFT, away for good", bench.ppo, storage)
    with (
        prefect_server(storage, None) as server,
        bench.lives(storage, **orchestrated(server), **victim(server)) as lives,
    ):
        yield _gone(bench, watch, storage, lives, server)


def own_prefect_gone(bench: Bench, _: int) -> Iterator[Outcome]:
    """The Prefect server of a climb alone, killed while SFT trains."""
    storage = bench.storage("prefect-own")
    watch = Watch(bench, "the Prefect server of a climb alone killed in SFT", bench.ppo, storage)
    own = {"PREFECT_API_URL": "", "PREFECT_HOME": str(storage / "prefect")}
    with bench.lives(storage, **own) as lives:
        gone = {**IN_SFT, "action": "own_server_gone"}
        life = lives.live(*bench.arguments(bench.ppo, storage), injections=[gone])
        watch.note(life, _when(life.stage, life.seconds), wanted=[1], words="error: the Prefect server of this run")
        yield watch.finish(lives)


def postgres_away(bench: Bench, _: int) -> Iterator[Outcome]:
    """PostgreSQL under MLflow killed while SFT and PPO of one climb train, back after 20 s each time."""
    yield from _without_postgres(bench, "postgres-away", AWAY_SECONDS)


def postgres_gone(bench: Bench, _: int) -> Iterator[Outcome]:
    """PostgreSQL under MLflow killed while SFT trains, and away until the climb has given up."""
    yield from _without_postgres(bench, "postgres-gone", None)


def _without_postgres(bench: Bench, name: str, away: float | None) -> Iterator[Outcome]:
    storage = bench.storage(name)
    how = "in SFT, away for good" if away is None else f"in SFT and in PPO, back after {away:g} s"
    fault = f"PostgreSQL under MLflow killed {how}"
    with ExitStack() as stack:
        try:
            server = stack.enter_context(postgres_server(storage, away))
        except FileNotFoundError as error:
            yield Outcome(fault, 0, {}, 0, None, 0, [f"not injected: {error} is not there"])
            return
        mlflow = stack.enter_context(mlflow_server(storage, None, server.uri))
        lives = stack.enter_context(bench.lives(storage, **tracked(mlflow), **victim(server)))
        watch = Watch(bench, fault, bench.ppo, storage, tracking=mlflow.uri)
        yield (_gone if away is None else _back)(bench, watch, storage, lives, server)


def tracked(server: Server) -> dict[str, str]:
    """What names an MLflow server to a climb."""
    return {"MLFLOW_TRACKING_URI": server.uri}


def orchestrated(server: Server) -> dict[str, str]:
    """What names a Prefect server to a climb."""
    return {"PREFECT_API_URL": server.uri}


def victim(server: Server) -> dict[str, str]:
    """What names to an injection the server that it ends."""
    return {"FAULTS_SERVER": str(server.process_file)}


def _back(bench: Bench, watch: Watch, storage: Path, lives: Lives, server: Server) -> Outcome:
    away = [{**point, "action": "server_away"} for point in (IN_SFT, IN_PPO)]
    life = lives.live(*bench.arguments(bench.ppo, storage), injections=away)
    watch.note(life, "went to its end", wanted=[0])
    if server.starts != len(away) + 1:
        watch.problems.append(f"the server was started {server.starts} times, not {len(away) + 1}")
    return watch.outcome(lives)


def _gone(bench: Bench, watch: Watch, storage: Path, lives: Lives, server: Server) -> Outcome:
    gone = {**IN_SFT, "action": "server_away"}
    life = lives.live(*bench.arguments(bench.ppo, storage), injections=[gone])
    watch.note(life, _when(life.stage, life.seconds), wanted=[1], words="error: ")
    server.again()
    return watch.finish(lives)


def _when(stage: str, seconds: float) -> str:
    return f"gave up in {stage} after {seconds / 60:.1f} min"


def two_ranks(bench: Bench, _: int) -> Iterator[Outcome]:
    """Kill -9 of a climb whose stages train on two ranks."""
    ranks = ("--set", "compute.processes=2")
    calm, storage = bench.storage("calm-ranks"), bench.storage("ranks")
    with bench.lives(calm) as lives:
        life = lives.live(*bench.arguments(bench.ppo, calm), *ranks)
    if life.code != 0:
        raise RuntimeError(f"an undisturbed climb on two ranks ended with {life.code}: {life.said[-3000:]}")
    watch = Watch(bench, "kill -9 on two ranks", bench.ppo, storage, settings=ranks, calm=calm)
    with bench.lives(storage) as lives:
        for stage in ("sft", "reward-model", "policy"):
            moment = Moment(stage, 0.0, steps=2)
            life = lives.live(*bench.arguments(bench.ppo, storage), *ranks, moment=moment)
            watch.note(life, f"killed in {life.stage}", wanted=[-signal.SIGKILL])
        yield watch.finish(lives)
