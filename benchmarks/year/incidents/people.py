"""People who promote at the same moment, or against the gates."""

from typing import Any

from benchmarks.year.incidents.incident import Incident, Notice, Weeks
from benchmarks.year.registry import holders, label, look
from benchmarks.year.reviewer import configured, force, policy_moves, roll_back
from benchmarks.year.scene import Scene
from flows.registry.names import CHAMPION, FAILED


class TwoPromote(Incident):
    """Two people make two versions of one model champion at the same moment."""

    name = "two people promote at once"

    def end(self, scene: Scene) -> dict[str, Any]:
        """One takes the champion before, the other one the newest version whose gates passed, or both the same."""
        models = look()
        passed = [number for number, status in models["policy"].status.items() if status == "passed"]
        wanted = [label("policy", number) for number in sorted(passed)[-2:]]
        before = holders(models, CHAMPION).get("policy")
        commands = [
            ["promote", version, "--yes", "--by", by, *configured(scene.ground)]
            for version, by in zip(wanted * (3 - len(wanted)), ("one", "two"), strict=False)
        ]
        codes = [said.code for said in scene.ground.at_once(commands)]
        after = holders(look(), CHAMPION).get("policy")
        moves = policy_moves(scene.ground)
        told = f"{moves[0]['model']}/{moves[0]['version']}" if moves else ""
        if before is not None and after != before:
            roll_back(scene.ground, "year-policy", "back to the one that was reviewed")
        return {"wanted": wanted, "codes": codes, "champion": after, "told": told}

    def grade(self, weeks: Weeks) -> Notice:
        """The champion is one of them, and the history tells the same."""
        if self.week not in weeks:
            return Notice("not yet over", "")
        notes = weeks[self.week].notes[self.name]
        well = notes["champion"] == notes["told"]
        return Notice("at once" if well else "never", f"exit codes {notes['codes']}, {notes['champion']}", well)


class Forced(Incident):
    """A person promotes a policy against its gates, and another one takes it back the week after."""

    name = "promoted against the gates by force"
    may_cost_gold = True
    lasts = 1

    def settings_for(self, scene: Scene) -> Any:
        """Settings with which no policy passes."""
        return scene.size.failing

    def end(self, scene: Scene) -> dict[str, Any]:
        """The newest policy that failed becomes champion."""
        failed = [number for number, status in look()["policy"].status.items() if status == FAILED]
        if not failed:
            return {"forced": ""}
        version = label("policy", max(failed))
        refused = scene.ground.rlhf("promote", version, "--yes", *configured(scene.ground)).code
        return {"forced": version if force(scene.ground, version) else "", "without_force": refused}

    def begin(self, scene: Scene, week: int) -> dict[str, Any]:
        """The week after it is taken back."""
        if week != self.week + 1:
            return {}
        moves = policy_moves(scene.ground)
        return {"told": [move["version"] for move in moves if move["forced"]], "back": roll_back(
            scene.ground, "year-policy", "it was forced"
        )}  # fmt: skip

    def grade(self, weeks: Weeks) -> Notice:
        """Without force it is refused; with it, history says so and roll-back returns."""
        if self.week + 1 not in weeks:
            return Notice("not yet over", "")
        notes = weeks[self.week].notes[self.name] | weeks[self.week + 1].notes[self.name]
        forced = notes["forced"].rpartition("/")[2]
        well = bool(forced) and notes["without_force"] == 3 and forced in notes["told"] and notes["back"]
        return Notice("before promotion" if well else "never", f"{notes['forced'] or 'nothing failed'}", well)
