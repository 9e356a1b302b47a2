from typing import Self

import pytest
from pydantic import Field, field_validator, model_validator

from pipeline.settings.base import Settings, SettingsError


class Leaf(Settings):
    """A section at the end."""

    weight: float
    """Its share of the tokens. More words that nobody needs here."""
    label: str = ""


class Tree(Settings):
    """A section with others in every place where one can stand."""

    size: int = Field(1, ge=1)
    half: int = 2
    leaf: Leaf = Leaf(weight=1.0)
    perhaps: Leaf | None = None
    leaves: tuple[Leaf, ...] = ()
    by_name: dict[str, Leaf] = Field(default_factory=dict)
    named: str | None = Field(None, alias="$named")

    @field_validator("half")
    @classmethod
    def _even(cls, half: int) -> int:
        if half % 2:
            raise ValueError(f"half is {half}, an odd number; write {half + 1}")
        return half

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.half > 10 * self.size:
            raise ValueError(f"half is {self.half}, more than ten times size {self.size}; write less")
        if self.named == "nobody":
            raise ValueError("Nobody is no name")
        return self


def refusal(data: object, where: str = "") -> str:
    with pytest.raises(SettingsError) as refused:
        Tree.parse(data, where)  # type: ignore[arg-type]
    return str(refused.value)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"sice": 1}, "sice: unknown key; did you mean 'size'?"),
        ({"leaf": {"weight": 1, "lable": ""}}, "leaf.lable: unknown key; did you mean 'label'?"),
        ({"perhaps": {"weight": 1, "lable": ""}}, "perhaps.lable: unknown key; did you mean 'label'?"),
        ({"leaves": [{"weight": 1, "lable": ""}]}, "leaves[0].lable: unknown key; did you mean 'label'?"),
        ({"by_name": {"label": {"weight": 1, "lable": ""}}}, "by_name.label.lable: unknown key; did you mean 'label'?"),
        ({"leaf": {"weight": 1, "colour": ""}}, "leaf.colour: unknown key; known here: weight, label"),
        ({"named": "a"}, "named: unknown key; did you mean '$named'?"),
        ({"leaf": {}}, "leaf.weight: is missing; give its share of the tokens"),
        ({"perhaps": {}}, "perhaps.weight: is missing; give its share of the tokens"),
        ({"leaves": [{"weight": 1}, {}]}, "leaves[1].weight: is missing; give its share of the tokens"),
        ({"size": "two"}, "size: 'two': input should be a valid integer"),
        ({"size": "2"}, "size: '2': input should be a valid integer (this is text: write 2, without quotes)"),
        ({"size": 2.5}, "size: 2.5: input should be a valid integer"),
        ({"size": 0}, "size: 0: input should be greater than or equal to 1"),
        ({"leaf": 3}, "leaf: 3: keys with values are wanted here"),
        ({"by_name": []}, "by_name: []: keys with values are wanted here"),
        ({"leaves": {"weight": 1}}, "leaves: {'weight': 1}: a list is wanted here, such as [first, second]"),
        ({"half": 3}, "half is 3, an odd number; write 4"),
        ({"half": 12}, "half is 12, more than ten times size 1; write less"),
        ([1], "settings: [1]: keys with values are wanted here"),
    ],
)
def test_a_sentence_names_the_path_the_value_and_the_way_out(data: object, sentence: str) -> None:
    assert refusal(data) == sentence


@pytest.mark.parametrize(
    ("where", "start"),
    [("demo.json:", "demo.json: half is 12, "), ("model", "model.half is 12, "), ("", "half is 12, ")],
)
def test_the_path_begins_with_the_file_or_the_section(where: str, start: str) -> None:
    assert refusal({"half": 12}, where).startswith(start)
    assert refusal({"sice": 1}, where).startswith(start.replace("half is 12, ", "sice: unknown key"))


def test_a_sentence_that_names_no_key_stands_behind_the_section() -> None:
    assert refusal({"$named": "nobody"}, "demo.json:") == "demo.json: Nobody is no name"
    assert refusal({"$named": "nobody"}) == "settings: Nobody is no name"


@pytest.mark.parametrize(("text", "number"), [("1e-4", "0.0001"), ("3E8", "300000000.0"), ("1e-9", "1.0e-09")])
def test_a_number_that_yaml_reads_as_text_comes_with_the_way_to_write_it(text: str, number: str) -> None:
    found = refusal({"leaf": {"weight": text}})
    assert found.startswith(f"leaf.weight: '{text}': input should be a valid number (this is text: write {number},")
    assert float(number) == float(text)


def test_every_wrong_key_has_its_line() -> None:
    lines = refusal({"sice": 1, "leaf": {}, "half": "x"}).splitlines()
    assert sorted(line.split(":")[0] for line in lines) == ["half", "leaf.weight", "sice"]


def test_a_long_value_is_shortened() -> None:
    assert len(refusal({"size": "x" * 10_000})) < 300
    assert len(refusal({"leaf": ["x" * 10_000] * 1000})) < 1000


def test_text_that_is_no_unicode_is_refused() -> None:
    assert "invalid JSON" in refusal({"leaf": {"weight": 1, "label": "\ud800"}})
