from pathlib import Path

import pytest

from pipeline.settings.base import SettingsError
from pipeline.settings.plain import merge, read_json, read_yaml


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("domains: {a: 1\nstages: [b]\n", ["demo.yaml is not YAML", "line 2, column"]),
        ("a: 1\n\tb: 2\n", ["demo.yaml is not YAML", "line 2, column 1"]),
        ("a: 1\nb: {c: 1, c: 2}\n", ["the key 'c' stands twice", "line 2, column 11"]),
        ("- a\n- b\n", ["demo.yaml holds ['a', 'b'], not keys with values", "config/README.md"]),
        ("", ["demo.yaml holds None, not keys with values"]),
        ("? [a, b]\n: 1\n", ["demo.yaml is not YAML", "line 1"]),
    ],
)
def test_broken_yaml_is_refused_with_the_place(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "demo.yaml").write_text(text)
    with pytest.raises(SettingsError) as refused:
        read_yaml(tmp_path / "demo.yaml")
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{\n  "a": 1,\n  "b": 2,\n}', ["demo.json is not JSON", "line 4 column 1"]),
        ('{"a": 1, "a": 2}', ["demo.json: the key 'a' stands twice in one section; keep one of them"]),
        ("[1]", ["demo.json holds [1], not keys with values"]),
        ("", ["demo.json is not JSON", "line 1 column 1"]),
    ],
)
def test_broken_json_is_refused_with_the_place(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "demo.json").write_text(text)
    with pytest.raises(SettingsError) as refused:
        read_json(tmp_path / "demo.json")
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize("read", [read_yaml, read_json])
def test_a_file_that_is_missing_a_folder_or_no_text_is_refused_by_its_path(tmp_path: Path, read) -> None:
    with pytest.raises(SettingsError, match=r"nowhere does not exist; correct its name"):
        read(tmp_path / "nowhere")
    with pytest.raises(SettingsError, match=r"cannot be read \(Is a directory\)"):
        read(tmp_path)
    (tmp_path / "latin").write_bytes(b'{"a": "\xe9"}')
    with pytest.raises(SettingsError, match=r"latin is not UTF-8 text \(byte 7\); save it as UTF-8"):
        read(tmp_path / "latin")


def test_merge_keys_of_yaml_are_no_repetition(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n")
    assert read_yaml(tmp_path / "demo.yaml")["b"] == {"x": 1, "y": 3}


def test_overrides_merge_sections_and_replace_all_else() -> None:
    config = {"tokenizer": {"vocab_size": 8192, "seed": 0}, "stages": ["demo"], "results": "results"}
    merged = merge(config, {"tokenizer": {"seed": 1}, "stages": ["tiny"]})
    assert merged == {"tokenizer": {"vocab_size": 8192, "seed": 1}, "stages": ["tiny"], "results": "results"}
    assert config["tokenizer"] == {"vocab_size": 8192, "seed": 0}
