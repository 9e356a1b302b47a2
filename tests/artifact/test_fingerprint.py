from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.canonical import canonical_json, digest
from pipeline.artifact.files import ArtifactError
from pipeline.artifact.fingerprint import Identity, sources
from pipeline.artifact.manifest import MANIFEST, Manifest, Source

INPUT = Source(role="raw", artifact="raw/wiki/0000", content="c", fingerprint="f")
IDENTITY = Identity("tokenize", {"seed": 0, "sub": {"a": 1, "b": 2}}, {"pipeline/a.py": "1"}, (INPUT,))

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), plain), st.randoms())
def test_equal_values_have_equal_digests_whatever_the_order_of_keys(value: dict, random) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert digest(dict(items)) == digest(value)


@given(plain, plain)
def test_values_of_equal_digest_are_written_alike(one: object, other: object) -> None:
    assert (digest(one) == digest(other)) == (canonical_json(one) == canonical_json(other))


def test_what_json_does_not_know_has_no_digest() -> None:
    with pytest.raises(ValueError, match="JSON"):
        digest({"lr": float("nan")})


@pytest.mark.parametrize(
    "change",
    [
        {"step": "pack"},
        {"settings": {"seed": 1, "sub": {"a": 1, "b": 2}}},
        {"inputs": ()},
        {"inputs": (INPUT.model_copy(update={"content": "d"}),)},
        {"inputs": (INPUT.model_copy(update={"role": "tokens"}),)},
    ],
)
def test_a_run_and_its_fingerprint_change_with_step_settings_and_inputs(change: dict) -> None:
    assert replace(IDENTITY, **change).run != IDENTITY.run
    assert replace(IDENTITY, **change).fingerprint != IDENTITY.fingerprint


def test_a_run_outlives_a_change_of_code_that_the_fingerprint_shows() -> None:
    changed = replace(IDENTITY, code_files={"pipeline/a.py": "2"})
    assert changed.run == IDENTITY.run
    assert changed.fingerprint != IDENTITY.fingerprint


def test_how_an_input_was_made_does_not_matter_if_its_content_is_equal() -> None:
    other = replace(IDENTITY, inputs=(INPUT.model_copy(update={"fingerprint": "g"}),))
    assert other.fingerprint == IDENTITY.fingerprint


def test_sources_do_not_depend_on_the_order_of_artifacts_nor_on_where_files_lie(
    make: Callable[..., Manifest], tmp_path: Path
) -> None:
    artifacts = []
    for name in ("a", "b"):
        make(name, {"x": name})
        artifacts.append(("raw", Artifact.open(tmp_path / name / MANIFEST)))
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.txt").write_text("mine")
    first = sources(artifacts, [tmp_path / "here/own.txt"])
    assert first == sources(reversed(artifacts), [tmp_path / "there/own.txt"])
    assert [source.artifact for source in first] == ["a", "b", "0:own.txt"]


def test_an_own_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"own\.txt does not exist; put it back, or take it out of the settings"):
        sources([], [tmp_path / "own.txt"])
