"""What went into what, what may go, and where it is drawn, on random graphs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.config.errors import InputError
from flows.lineage.graph import Graph, Version
from flows.lineage.layout import lay_out
from flows.lineage.retention import needed_digests, superseded
from flows.registry.lookup import DATASET

PROJECT, OTHER = "toy", "toy-shop"
NAMES = ("toy-base", "toy-sft", "toy-policy", "toy-shop-sft", "somebody-else")


def version(
    label: str,
    parents: tuple[str, ...] = (),
    datasets: tuple[str, ...] = (),
    aliases: tuple[str, ...] = (),
    created: float = 0.0,
) -> Version:
    name, _, number = label.partition("/")
    return Version(
        name=name,
        version=number,
        description="",
        digest="",
        key="",
        code="",
        model_id="",
        run_id="",
        created=created,
        aliases=aliases,
        gates={},
        parents={f"role{index}": parent for index, parent in enumerate(parents)},
        parent_digests={},
        datasets={f"use{index}": f"table:{digest}" for index, digest in enumerate(datasets)},
    )


@st.composite
def versions(draw: st.DrawFn) -> list[Version]:
    """Up to 14 versions of several projects, each made from earlier ones and from some of four datasets."""
    made: list[Version] = []
    for number in range(draw(st.integers(0, 14))):
        parents = draw(st.sets(st.sampled_from([item.label for item in made]), max_size=3)) if made else set()
        made.append(
            version(
                f"{draw(st.sampled_from(NAMES))}/{number}",
                tuple(sorted(parents)),
                tuple(sorted(draw(st.sets(st.sampled_from("abcd"), max_size=2)))),
                draw(st.sampled_from([(), (), ("champion",), ("challenger", "mine")])),
                draw(st.sampled_from([1.0, 100.0])),
            )
        )
    return made


def ancestors(made: list[Version], label: str) -> set[str]:
    """What went into a version, the slow way."""
    (found,) = (item for item in made if item.label == label)
    above = {node for parent in found.parents.values() for node in ancestors(made, parent)}
    return above | set(found.inputs.values()) | {label}


@given(versions())
def test_what_went_in_and_what_came_out_are_each_others_mirror(made: list[Version]) -> None:
    graph = Graph(made)
    for item in made:
        assert graph.before([item.label]) == ancestors(made, item.label)
    for node in graph.nodes:
        assert {item.label for item in graph.after(node)} == {
            item.label for item in made if node in ancestors(made, item.label) - {item.label}
        }


@given(versions())
def test_those_with_an_alias_come_first_then_the_newest(made: list[Version]) -> None:
    graph = Graph(made)
    for node in graph.nodes:
        ranks = [(not item.aliases, -item.created) for item in graph.after(node)]
        assert ranks == sorted(ranks)


@given(versions(), st.data())
def test_nothing_goes_that_something_that_stays_was_made_from(made: list[Version], data: st.DataObject) -> None:
    graph = Graph(made)
    reached = data.draw(st.sets(st.sampled_from([item.label for item in made]), max_size=2)) if made else set()
    gone = superseded(graph, PROJECT, before=50.0, in_use=reached)
    labels = [item.label for item in gone]
    live = [item.label for item in made if item.aliases or item.created >= 50.0 or item.label in reached]
    needed = {node for label in live for node in ancestors(made, label)}
    assert not needed & set(labels)
    assert not {node.removeprefix(DATASET) for node in needed} - needed_digests(graph, gone) - set(graph.versions)
    assert {item.name for item in gone} <= {"toy-base", "toy-sft", "toy-policy"}
    for index, item in enumerate(gone):  # whatever interrupts the removal, no version loses a parent before itself
        assert not set(item.parents.values()) & set(labels[:index])
    for item in made:  # and all that may go does
        wanted = item.name.startswith("toy-") and not item.name.startswith("toy-shop")
        others = {node for other in made if other.label not in labels for node in ancestors(made, other.label)}
        assert item.label in labels or item.label in others or not wanted


@given(versions())
def test_every_edge_is_drawn_from_left_to_right_and_nothing_on_top_of_another(made: list[Version]) -> None:
    graph = Graph(made)
    if not graph.nodes:
        return
    layout = lay_out(graph.order, graph.edges)
    assert set(layout.places) == set(graph.nodes) and set(layout.ways) == set(graph.edges)
    waypoints = [index for way in layout.ways.values() for index in way[1:-1]]
    taken = [*layout.places.values(), *waypoints]
    assert len(set(taken)) == len(taken)
    assert all(0 <= layer < layout.layers and 0 <= row <= layout.rows - 1 for layer, row in taken)
    for (start, end), way in layout.ways.items():
        first, last = layout.places[start], layout.places[end]
        assert (way[0], way[-1]) == (first, last)
        assert [layer for layer, _ in way] == list(range(first[0], last[0] + 1)) and first[0] < last[0]


def test_a_layout_that_need_not_cross_does_not() -> None:
    edges = [("a", "z"), ("b", "y"), ("c", "x")]
    layout = lay_out(["a", "b", "c", "x", "y", "z"], edges)
    assert all(layout.places[start][1] == layout.places[end][1] for start, end in edges)


def test_what_needs_nothing_waits_until_it_is_needed() -> None:
    layout = lay_out(["base", "prompts", "sft", "policy"], [("base", "sft"), ("sft", "policy"), ("prompts", "policy")])
    assert {node: layer for node, (layer, _) in layout.places.items()} == {
        "base": 0, "sft": 1, "prompts": 1, "policy": 2
    }  # fmt: skip


def test_a_dataset_is_found_by_the_start_of_its_digest() -> None:
    graph = Graph([version("toy-sft/1", datasets=("abc", "abd", "x"))])
    assert graph.find_dataset("abc") == "dataset:abc" and graph.find_dataset("x") == "dataset:x"
    with pytest.raises(InputError, match="dataset:ab: starts 2 digests; give more of it"):
        graph.find_dataset("ab")
    with pytest.raises(InputError, match="dataset:: starts 3 digests; give more of it"):
        graph.find_dataset("")
    with pytest.raises(InputError, match="dataset:q: starts no digest that a version names"):
        graph.find_dataset("q")


def test_a_parent_that_is_gone_is_missing_and_still_leads_to_its_children() -> None:
    graph = Graph([version("toy-policy/1", ("toy-sft/1",))])
    assert graph.missing == ["toy-sft/1"]
    assert graph.path("toy-sft/1", "toy-policy/1") == ["toy-sft/1", "toy-policy/1"]


def test_what_went_into_itself_is_told_as_altered() -> None:
    graph = Graph([version("toy-sft/1", ("toy-policy/1",)), version("toy-policy/1", ("toy-sft/1",))])
    with pytest.raises(InputError, match=r"goes in a circle, toy-.* -> toy-.*: a tag `parent\.…` was altered"):
        _ = graph.order


def test_a_policy_goes_through_its_labelled_answers_into_what_learned_from_them() -> None:
    policy = version("toy-policy/1")
    origin = {"use0.sampled-from": "toy-policy/1"}
    reward_models = [
        version(f"toy-reward-model/{number}", datasets=("fresh",)).model_copy(update={"origins": origin})
        for number in (2, 3)
    ]
    graph = Graph([policy, *reward_models])
    assert graph.roles == [
        (f"{DATASET}fresh", "toy-reward-model/2", "use0"),
        ("toy-policy/1", f"{DATASET}fresh", "sampled-from"),
        (f"{DATASET}fresh", "toy-reward-model/3", "use0"),
    ]
    assert [found.label for found in graph.after("toy-policy/1")] == ["toy-reward-model/2", "toy-reward-model/3"]
    assert graph.path("toy-policy/1", "toy-reward-model/3") == ["toy-policy/1", f"{DATASET}fresh", "toy-reward-model/3"]
    assert "toy-policy/1" in graph.before(["toy-reward-model/3"])
    assert superseded(graph, PROJECT, before=1.0, in_use=["toy-reward-model/3"]) == [reward_models[0]]
    assert Graph(reward_models).missing == ["toy-policy/1"]
