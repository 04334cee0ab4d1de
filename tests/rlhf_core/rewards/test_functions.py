"""Reward functions of users: real modules in a folder, found by entry point, tried, and known by their source."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rlhf_core.rewards.functions import FunctionError, ask, load_function, source_digest, try_out

Write = Callable[[str, str], None]
COUNT = "def words(prompts, responses):\n    return [len(text.split()) for text in responses]\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a file of a user's, in a folder that Python looks into."""
    monkeypatch.syspath_prepend(str(tmp_path))
    forget()

    def put(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        importlib.invalidate_caches()

    yield put
    forget()


def forget() -> None:
    """Let the next import read the files again."""
    for name in list(sys.modules):
        if name.partition(".")[0] in ("own_rules", "own_package"):
            del sys.modules[name]


def test_a_function_is_asked_about_all_responses_at_once(write: Write) -> None:
    write("own_rules.py", COUNT)
    function = load_function("own_rules:words")
    assert ask("own_rules:words", function, ["p", "q"], ["a b c", ""]).tolist() == [3.0, 0.0]
    try_out("own_rules:words")


def test_prompts_come_with_their_responses(write: Write) -> None:
    write("own_rules.py", "def longer(asked, given): return [len(p) - len(r) for p, r in zip(asked, given)]")
    assert ask("x", load_function("own_rules:longer"), ["abc", "a"], ["a", "abcd"]).tolist() == [2.0, -3.0]


def test_an_installed_entry_point_is_found_by_its_name(write: Write) -> None:
    write("own_rules.py", COUNT)
    write("shown-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: shown\nVersion: 1.0\n")
    write("shown-1.0.dist-info/entry_points.txt", "[rlhf_ladder.rewards]\nwordy = own_rules:words\n")
    assert load_function("wordy") is load_function("own_rules:words")
    assert source_digest("wordy") == source_digest("own_rules:words")


@pytest.mark.parametrize(
    ("source", "name", "expected"),
    [
        (COUNT, "absent_rules:words", r"absent_rules cannot be imported \(ModuleNotFoundError.*PYTHONPATH"),
        (COUNT, "own_rules:wrods", r"own_rules has no 'wrods'; correct its name"),
        (COUNT, "wordless", r"is no installed entry point of rlhf_ladder\.rewards .*write package\.module:function"),
        ("words = 3", "own_rules:words", r"is of type int; name a function"),
        ("raise RuntimeError('no licence')", "own_rules:words", r"cannot be imported \(RuntimeError: no licence\)"),
        (
            "def words(prompts): return []",
            "own_rules:words",
            r"raised TypeError: .*must return a number for any",
        ),
        (
            "def words(prompts, responses): return [1 / len(text) for text in responses]",
            "own_rules:words",
            r"raised ZeroDivisionError",
        ),
        ("def words(prompts, responses): return 1.0", "own_rules:words", r"returned shape \[\] for 3 responses"),
        ("def words(prompts, responses): return [[1.0]] * 3", "own_rules:words", r"returned shape \[3, 1\] for 3"),
        ("def words(prompts, responses): return ['good'] * 3", "own_rules:words", r"raised ValueError"),
        (
            "def words(prompts, responses): return [float('nan') if not text else 0.0 for text in responses]",
            "own_rules:words",
            r"returned nan for the response ''; return a number",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_mend(write: Write, source: str, name: str, expected: str) -> None:
    write("own_rules.py", source)
    with pytest.raises(FunctionError, match=expected):
        try_out(name)


def test_the_digest_changes_with_the_module_and_with_nothing_else(write: Write) -> None:
    write("own_rules.py", COUNT)
    write("neighbour.py", "x = 1")
    first = source_digest("own_rules:words")
    write("neighbour.py", "x = 2")
    assert source_digest("own_rules:words") == first
    write("own_rules.py", COUNT.replace("len(text.split())", "len(text)"))
    assert source_digest("own_rules:words") != first


def test_the_digest_of_a_function_in_a_package_changes_with_the_whole_package(write: Write) -> None:
    write("own_package/__init__.py", "")
    write("own_package/words.py", "from own_package.deep.lexicon import WORDS\n" + COUNT)
    write("own_package/deep/lexicon.py", "WORDS = ('a',)")
    digests = [source_digest("own_package.words:words")]
    for change in ("own_package/deep/lexicon.py", "own_package/other.py"):
        write(change, "WORDS = ('a', 'b')")
        digests.append(source_digest("own_package.words:words"))
    assert len(set(digests)) == 3


def test_the_digest_covers_where_a_function_is_defined_and_where_it_is_named(write: Write) -> None:
    write("own_rules.py", "from own_package.words import words\n")
    write("own_package/__init__.py", "")
    write("own_package/words.py", COUNT)
    first = source_digest("own_rules:words")
    write("own_package/words.py", f"{COUNT}\n")
    second = source_digest("own_rules:words")
    write("own_rules.py", "from own_package.words import words  # renamed\n")
    assert len({first, second, source_digest("own_rules:words")}) == 3


def test_a_function_without_a_file_is_refused() -> None:
    with pytest.raises(FunctionError, match=r"time has no file"):
        source_digest("time:sleep")
