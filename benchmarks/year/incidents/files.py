"""Files that arrive broken."""

from abc import abstractmethod

from benchmarks.year.incidents.incident import Incident, Notice, Weeks, stopped
from benchmarks.year.scene import Scene


class BrokenFile(Incident):
    """The pairs of the week arrive broken; once they are refused, the vendor sends them again."""

    @abstractmethod
    def spoil(self, content: bytes) -> bytes:
        """What arrives in the place of a file."""

    def land(self, scene: Scene) -> None:
        """The file that has just landed is another one."""
        path = scene.inbox / "pairs" / f"week-{self.week:02d}.csv"
        aside = scene.ground.folder / "sound" / path.name
        if not aside.exists():
            aside.parent.mkdir(exist_ok=True)
            aside.write_bytes(path.read_bytes())
            path.write_bytes(self.spoil(aside.read_bytes()))

    def repair(self, scene: Scene) -> bool:
        """The sound one takes its place."""
        name = f"week-{self.week:02d}.csv"
        (scene.inbox / "pairs" / name).write_bytes((scene.ground.folder / "sound" / name).read_bytes())
        return True

    def grade(self, weeks: Weeks) -> Notice:
        """The data are refused before anything is trained."""
        return stopped(weeks, self.week, self.week) or Notice("never", "it was read as if nothing were the matter")


class CutFile(BrokenFile):
    """An upload that ended in the middle of a row."""

    name = "file cut in the middle"

    def spoil(self, content: bytes) -> bytes:
        """Its first half, up to the middle of an answer."""
        half = content[: len(content) // 2]
        return half[: half.rindex(b"\n") + 20]


class OtherEncoding(BrokenFile):
    """A file in UTF-16 without its mark."""

    name = "file in another encoding"

    def spoil(self, content: bytes) -> bytes:
        """The same text as other bytes."""
        return content.decode().encode("utf-16-le")


class RenamedColumn(BrokenFile):
    """The tool was updated, and a column has another name."""

    name = "column renamed"

    def spoil(self, content: bytes) -> bytes:
        """The label is called otherwise."""
        return content.replace(b"better", b"preference", 1)
