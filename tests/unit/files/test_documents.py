import json
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskjobs.files.documents import dump, from_json, keys, parse, sealed, to_json, unsealed, written_as


@dataclass(frozen=True)
class Part:
    start: int
    size: int = field(metadata=written_as("bytes"))
    note: str = ""


class Named(TypedDict):
    name: str


@dataclass(frozen=True, kw_only=True)
class Whole:
    kind: Literal["whole"]
    parts: list[Part]
    pairs: list[tuple[int, int]] = field(default_factory=list)
    share: float | None
    by_name: dict[str, Part]
    named: Named
    flag: bool = False
    most: int | None = None


WHOLE = Whole(
    kind="whole", parts=[Part(1, 2), Part(3, 4, "x")], pairs=[(5, 6)], share=None, by_name={"a": Part(7, 8)},
    named={"name": "n"},
)  # fmt: skip
JSON: dict[str, Any] = {
    "kind": "whole",
    "parts": [{"start": 1, "bytes": 2}, {"start": 3, "bytes": 4, "note": "x"}],
    "pairs": [[5, 6]],
    "share": None,
    "by_name": {"a": {"start": 7, "bytes": 8}},
    "named": {"name": "n"},
}


def test_dataclass_comes_back_and_its_json_has_its_keys_in_order_without_defaults() -> None:
    assert to_json(WHOLE) == JSON
    assert list(to_json(WHOLE)) == list(JSON)
    assert from_json(JSON, Whole) == parse(dump(WHOLE), Whole) == unsealed(sealed(WHOLE), Whole) == WHOLE
    assert list(keys(Part)) == ["start", "bytes", "note"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "half"}, r"it.kind must be 'whole', got 'half'"),
        ({"parts": [{"start": 1}]}, r"it.parts\[0\] has no bytes"),
        ({"parts": [{"start": 1, "bytes": -1}]}, r"it.parts\[0\].bytes must be a whole number from 0 .*, got -1"),
        ({"parts": [{"start": True, "bytes": 1}]}, r"start must be a whole number .*, got True"),
        ({"parts": [{"start": 1.0, "bytes": 1}]}, r"start must be a whole number .*, got 1.0"),
        ({"parts": [{"start": 1 << 63, "bytes": 1}]}, r"start must be a whole number .*, got 9223372036854775808"),
        ({"parts": {}}, r"it.parts must be a list, got {}"),
        ({"parts": [7]}, r"it.parts\[0\] must be an object"),
        ({"pairs": [[1, 2, 3]]}, r"it.pairs\[0\] must be a list of 2, got"),
        ({"share": "1"}, r"it.share must be a finite number, got '1'"),
        ({"share": 10**400}, r"it.share must be a finite number, got 1000"),
        ({"share": True}, r"it.share must be a finite number, got True"),
        ({"by_name": []}, r"it.by_name must be an object, got \[\]"),
        ({"by_name": {"a": None}}, r"it.by_name.a must be an object"),
        ({"named": {}}, r"it.named has no name"),
        ({"named": {"name": 7}}, r"it.named.name must be text, got 7"),
        ({"flag": 0}, r"it.flag must be true or false, got 0"),
    ],
)
def test_other_shapes_are_refused_and_the_place_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        from_json({**JSON, **change}, Whole)


@pytest.mark.parametrize("missing", sorted(JSON.keys() - {"pairs"}))
def test_missing_keys_are_refused_and_unknown_ones_are_passed_over(missing: str) -> None:
    with pytest.raises(ValueError, match=f"it has no {missing}"):
        from_json({key: value for key, value in JSON.items() if key != missing}, Whole)
    assert from_json({**JSON, "unknown": 1}, Whole) == WHOLE


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "[" * 100_000, "\xff", "{", '"x"'])
def test_what_is_no_number_and_no_json_is_refused(text: str) -> None:
    data = dump(WHOLE).replace(b"null", text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"."):
        parse(data, Whole)


@pytest.mark.slow
@given(st.data())
def test_nothing_but_a_value_error_is_raised_when_anything_stands_anywhere(data: st.DataObject) -> None:
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["start", "bytes", "x"]), inner),
        max_leaves=6,
    )
    value = {**JSON, data.draw(st.sampled_from(sorted(JSON))): data.draw(anything)}
    try:
        read = from_json(value, Whole)
    except ValueError:
        return
    assert from_json(json.loads(dump(read)), Whole) == read


def test_sealed_file_is_refused_when_any_value_in_it_has_changed() -> None:
    with pytest.raises(ValueError, match="its checksum is not that of the rest"):
        unsealed(sealed(WHOLE).replace(b'"bytes": 8', b'"bytes": 9'), Whole)
