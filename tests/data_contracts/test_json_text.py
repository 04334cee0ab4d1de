"""JSON in which a key may not stand twice in one object."""

from typing import Any

from data_contracts.formats.json_text import DECODER, RepeatedKey


def read(text: str) -> Any:
    try:
        return DECODER.decode(text)
    except RepeatedKey as error:
        return str(error)


def test_a_key_stands_once_in_an_object_of_any_depth() -> None:
    assert read('{"a": 1, "b": [{"c": 1, "d": 2, "c": 1}]}') == "has 'c' twice in one object"
    assert read('[{"a": 1}, {"a": {"a": 2}}]') == [{"a": 1}, {"a": {"a": 2}}]
    assert len(read(f'{{"{"x" * 900}": 1, "{"x" * 900}": 1}}')) < 80
