import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.artifact.canonical import canonical_json
from pipeline.settings.base import Settings, SettingsError, compose, execution, execution_of, identity


class Part(Settings):
    """A section within another."""

    size: int = 1
    workers: int = execution(1)


class Whole(Settings):
    """A section with every kind of field."""

    rate: float
    names: tuple[str, ...] = ()
    part: Part = Part()
    note: str = ""
    path: str | None = execution(None)


wholes = st.builds(
    Whole,
    rate=st.floats(allow_nan=False, allow_infinity=False),
    names=st.lists(st.text()).map(tuple),
    part=st.builds(Part, size=st.integers(-(2**62), 2**62), workers=st.integers(1, 9)),
    note=st.text(),
    path=st.none() | st.text(),
)


@given(wholes)
def test_identity_and_execution_put_together_are_the_settings_again(whole: Whole) -> None:
    assert Whole.parse(compose(identity(whole), execution_of(whole), Whole)) == whole


@given(wholes, st.text(), st.integers(1, 9))
def test_execution_never_enters_the_identity(whole: Whole, path: str, workers: int) -> None:
    moved = whole.model_copy(update={"path": path, "part": whole.part.model_copy(update={"workers": workers})})
    assert canonical_json(identity(moved)) == canonical_json(identity(whole))
    assert execution_of(moved) == {"path": path, "part": {"workers": workers}}


@given(wholes, st.randoms())
def test_the_order_of_keys_does_not_matter(whole: Whole, random) -> None:
    plain = list(whole.model_dump(mode="json").items())
    random.shuffle(plain)
    assert canonical_json(identity(Whole.parse(dict(plain)))) == canonical_json(identity(whole))


def test_a_whole_number_equals_the_same_number_with_a_point() -> None:
    assert canonical_json(identity(Whole.parse({"rate": 1}))) == canonical_json(identity(Whole.parse({"rate": 1.0})))


def test_keys_that_are_no_execution_fields_are_not_composed() -> None:
    assert compose({"rate": 1.0, "part": {"size": 2}}, {"rate": 9, "strange": 1, "part": {"size": 3}}, Whole) == {
        "rate": 1.0,
        "part": {"size": 2},
    }


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Whole(rate=1.0).rate = 2.0


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_by_its_key(number: float) -> None:
    with pytest.raises(SettingsError, match=r"^a\.rate: -?(nan|inf): input should be a finite number$"):
        Whole.parse({"rate": number}, where="a")


@pytest.mark.parametrize("value", ["1", True, None, [1], {}])
def test_a_wrong_type_is_never_converted(value: object) -> None:
    with pytest.raises(SettingsError, match=r"^rate: "):
        Whole.parse({"rate": value})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"rate": {1, 2}}, "{1, 2} is a set; use text, numbers, lists and keys with values only"),
        ({("a", "b"): 1}, "keys must be str"),
    ],
)
def test_what_is_no_plain_data_is_refused(data: dict, words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Whole.parse(data, where="demo.json:")
    assert str(refused.value).startswith("demo.json: ")
    assert words in str(refused.value)


def test_a_list_that_holds_itself_is_refused() -> None:
    names: list = []
    names.append(names)
    with pytest.raises(SettingsError, match="Circular reference"):
        Whole.parse({"rate": 1.0, "names": names})
