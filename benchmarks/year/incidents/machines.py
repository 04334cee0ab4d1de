"""Machines that die, servers that are away, disks that are full."""

import time
from abc import abstractmethod
from collections.abc import Callable

from benchmarks.year.ground import Ground, fill_disk, kill
from benchmarks.year.incidents.incident import Incident, Notice, Weeks
from benchmarks.year.scene import Scene

WELL = ("done", "nothing new", "gate")


class Disturbed(Incident):
    """Something happens while a stage trains; if the climb ends by it, it is started again."""

    def disturbance(self, scene: Scene) -> Callable[[Ground], None]:
        """It happens."""
        return lambda ground: self.happen(ground, scene.away_seconds)

    @abstractmethod
    def happen(self, ground: Ground, seconds: float) -> None:
        """What happens, at most for so long."""

    def grade(self, weeks: Weeks) -> Notice:
        """The climb rode it out, or the next one went on."""
        if self.week not in weeks:
            return Notice("not yet over", "")
        endings = [each.ending for each in weeks[self.week].tries]
        how = "ridden out" if len(endings) == 1 else f"{endings[0]}; after {len(endings)} tries {endings[-1]}"
        return Notice("at once", how, endings[-1] in WELL)


class WorkerKilled(Disturbed):
    """The machine of a worker loses its power."""

    name = "worker killed mid-training"

    def happen(self, ground: Ground, seconds: float) -> None:
        """All processes of the climb are gone."""
        kill(ground.climbing())


class DiskFull(Disturbed):
    """No file of the climb can grow for a minute."""

    name = "disk full for a minute"

    def happen(self, ground: Ground, seconds: float) -> None:
        """It is full, and then somebody makes room."""
        fill_disk(ground.climbing(), seconds)


class PostgresRestarted(Disturbed):
    """The database is restarted under both servers."""

    name = "PostgreSQL restarted"
    needs_stack = True

    def happen(self, ground: Ground, seconds: float) -> None:
        """At once, as by an update of the system."""
        ground.supervise("restart", "postgres")


class MlflowAway(Disturbed):
    """MLflow does not answer for a minute."""

    name = "MLflow away for a minute"
    needs_stack = True

    def happen(self, ground: Ground, seconds: float) -> None:
        """It is stopped, and started again."""
        ground.supervise("stop", "mlflow")
        time.sleep(seconds)
        ground.supervise("start", "mlflow")


class Rebooted(Disturbed):
    """The host goes down with everything on it. Its clock stays as it is, as nobody may set it here."""

    name = "host rebooted"
    needs_stack = True

    def happen(self, ground: Ground, seconds: float) -> None:
        """All processes are killed, and `make up` is typed again."""
        ground.reboot()
