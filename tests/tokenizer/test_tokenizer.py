"""The step `tokenizer`, and the tokenizers it makes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.artifact.build import Build
from pipeline.artifact.files import ArtifactError
from pipeline.settings.base import SettingsError, execution_of, identity
from pipeline.settings.corpus import Validation
from pipeline.settings.tokenizer import MIN_VOCAB_SIZE, TokenizerSettings, tokenizer_step
from pipeline.tokenizer.lengths import token_bytes
from pipeline.tokenizer.load import load_tokenizer
from pipeline.tokenizer.special import SPECIAL_TOKENS, SpecialIds, special_ids
from pipeline.tokenizer.tokenizer import tokenizer

# U+FF5C and U+2581, as DeepSeek-V3 writes them
DEEPSEEK = (
    "begin\u2581of\u2581sentence",
    "end\u2581of\u2581sentence",
    "\u2581pad\u2581",
    "fim\u2581hole",
    "fim\u2581begin",
    "fim\u2581end",
)
WEIGHTS = {"language_reference": 0.25, "python_code": 0.75}
VALIDATION = Validation(fraction=0.1)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def test_the_vocabulary_has_exactly_the_size_that_was_asked_for(trained):
    path, counts = trained
    assert load_tokenizer(path).get_vocab_size() == counts["vocabulary"] == 1000
    assert "warning" not in counts


def test_the_special_tokens_are_those_of_deepseek_v3_with_the_ids_from_zero(path):
    tokens = load_tokenizer(path)
    assert tuple(f"<\uff5c{name}\uff5c>" for name in DEEPSEEK) == SPECIAL_TOKENS
    assert special_ids(tokens) == SpecialIds(begin=0, end=1, pad=2, fim_hole=3, fim_begin=4, fim_end=5)


def test_the_manifest_tells_the_sample_and_the_bytes_per_token(trained):
    _, counts = trained
    assert len(counts["sample_digest"]) == 64
    assert set(counts["bytes_per_token"]) == set(counts["sample_taken_bytes"]) == set(WEIGHTS)
    assert all(2 < value < 6 for value in counts["bytes_per_token"].values())
    json.dumps(counts, allow_nan=False)


def test_training_twice_with_other_threads_gives_the_same_bytes(raw, step, path, tmp_path):
    program = """
import sys
from pathlib import Path
from pipeline.artifact.artifact import Artifact
from pipeline.artifact.build import Build
from pipeline.settings.tokenizer import TokenizerStep
from pipeline.tokenizer.tokenizer import tokenizer
raw = tuple(Artifact.open(Path(manifest)) for manifest in sys.argv[3:])
tokenizer(TokenizerStep.model_validate_json(sys.argv[1]), Build(Path(sys.argv[2]), {"raw": raw}))
"""
    manifests = [str(block.folder / "manifest.json") for block in raw]
    for threads in ("1", "3"):
        folder = tmp_path / threads
        folder.mkdir()
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        command = [sys.executable, "-c", program, step.model_dump_json(), str(folder), *manifests]
        subprocess.run(command, check=True, env=environment)
        assert (folder / "tokenizer.json").read_bytes() == path.read_bytes()


def test_a_sample_with_too_few_pairs_says_so_and_gives_a_smaller_vocabulary(raw, tmp_path):
    settings = TokenizerSettings(vocab_size=50_000, sample_bytes=20_000)
    counts = tokenizer(tokenizer_step(settings, WEIGHTS, VALIDATION), Build(tmp_path, {"raw": raw}))
    assert MIN_VOCAB_SIZE < counts["vocabulary"] < 50_000
    assert "50000" in counts["warning"]


@given(text=ANY_TEXT)
def test_any_text_comes_back_from_its_tokens(path, text):
    tokens = load_tokenizer(path)
    ids = tokens.encode(text, add_special_tokens=False).ids
    assert tokens.decode(ids, skip_special_tokens=False) == text


def test_pieces_of_text_are_cut_as_deepseek_v3_cuts_them(path):
    cut = load_tokenizer(path).pre_tokenizer.pre_tokenize_str("x12345 \u6f22\u5b57a  b.\n\n c'd")
    spans = ["x12345 \u6f22\u5b57a  b.\n\n c'd"[start:end] for _, (start, end) in cut]
    assert spans == ["x", "123", "45", " ", "\u6f22\u5b57", "a", " ", " b", ".\n\n", " c", "'d"]


def test_the_lengths_of_the_tokens_add_up_to_the_bytes_of_the_text(path):
    tokens = load_tokenizer(path)
    lengths = token_bytes(tokens)
    text = "na\u00efve \u6f22\u5b57 \U0001f600 def f(): return 17\n"
    assert lengths.dtype == "int32"
    assert lengths.shape == (tokens.get_vocab_size(),)
    assert lengths[tokens.encode(text).ids].sum() == len(text.encode())
    assert not lengths[list(special_ids(tokens))].any()
    assert (lengths[6:] > 0).all()


@pytest.mark.parametrize("vocab_size", [0, 256, MIN_VOCAB_SIZE - 1])
def test_a_vocabulary_smaller_than_bytes_and_special_tokens_is_refused(vocab_size):
    with pytest.raises(SettingsError, match=rf"vocab_size.*write at least {MIN_VOCAB_SIZE}"):
        TokenizerSettings.parse({"vocab_size": vocab_size})


def test_the_smallest_vocabulary_is_bytes_and_special_tokens(raw, tmp_path):
    settings = TokenizerSettings(vocab_size=MIN_VOCAB_SIZE, sample_bytes=10_000)
    counts = tokenizer(tokenizer_step(settings, WEIGHTS, VALIDATION), Build(tmp_path, {"raw": raw}))
    assert counts["vocabulary"] == MIN_VOCAB_SIZE
    assert set(counts["bytes_per_token"].values()) == {1.0}


def own_step(path: Path, vocab_size: int = 1000):
    return tokenizer_step(TokenizerSettings(vocab_size=vocab_size, path=str(path)), WEIGHTS, VALIDATION)


def test_an_own_tokenizer_is_taken_as_it_is_without_any_text(path, tmp_path):
    step = own_step(path)
    counts = tokenizer(step, Build(tmp_path, execution=execution_of(step)))
    assert (tmp_path / "tokenizer.json").read_bytes() == path.read_bytes()
    assert counts["vocabulary"] == 1000


def test_moving_an_own_tokenizer_leaves_the_identity_and_editing_it_does_not(path, tmp_path):
    moved, edited = tmp_path / "moved.json", tmp_path / "edited.json"
    moved.write_bytes(path.read_bytes())
    edited.write_bytes(path.read_bytes() + b"\n")
    assert identity(own_step(moved)) == identity(own_step(path)) != identity(own_step(edited))
    assert str(tmp_path) not in str(identity(own_step(moved)))


def test_a_domain_of_weight_zero_has_no_part_in_the_training():
    training = tokenizer_step(TokenizerSettings(), {"a": 1.0, "b": 0.0}, VALIDATION).training
    assert training is not None
    assert training.weights == {"a": 1.0}


def test_weights_and_sample_do_not_decide_an_own_tokenizer(path):
    settings = TokenizerSettings(vocab_size=1000, path=str(path), sample_bytes=1, seed=9)
    assert identity(tokenizer_step(settings, {"x": 1.0}, VALIDATION)) == identity(own_step(path))


def test_an_own_tokenizer_that_is_missing_is_refused_with_its_key(tmp_path):
    with pytest.raises(SettingsError, match=r"tokenizer\.path: .*gone\.json cannot be read"):
        own_step(tmp_path / "gone.json")


def test_an_own_tokenizer_that_was_edited_after_planning_is_refused(path, tmp_path):
    own = tmp_path / "own.json"
    own.write_bytes(path.read_bytes())
    step = own_step(own)
    own.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(ArtifactError, match=r"own\.json was changed after the workflow was planned"):
        tokenizer(step, Build(tmp_path, execution=execution_of(step)))


def test_an_own_tokenizer_larger_than_vocab_size_is_refused_with_the_value_to_write(path, tmp_path):
    step = own_step(path, vocab_size=999)
    with pytest.raises(ArtifactError, match=r"has 1000 tokens.*set tokenizer\.vocab_size to 1000"):
        tokenizer(step, Build(tmp_path, execution=execution_of(step)))


def edited(path: Path, tmp_path: Path, edit) -> Path:
    data = json.loads(path.read_text())
    edit(data)
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(data))
    return changed


def _drop_pad(data):
    data["added_tokens"] = [token for token in data["added_tokens"] if token["id"] != 2]
    data["model"]["vocab"]["other"] = data["model"]["vocab"].pop(SPECIAL_TOKENS[2])


def _lowercase(data):
    data["normalizer"] = {"type": "Lowercase"}


def _leave_a_hole(data):
    data["model"]["vocab"]["\u0120far"] = 5000


def _drop_a_byte(data):
    data["model"]["vocab"]["nobyte"] = data["model"]["vocab"].pop("\u00ff")


def _word_level(data):
    data["model"] = {"type": "WordLevel", "vocab": data["model"]["vocab"], "unk_token": "!"}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_drop_pad, f"no special token {SPECIAL_TOKENS[2]}; add it"),
        (_lowercase, "does not give text back as it was"),
        (_leave_a_hole, "its largest id is 5000"),
        (_drop_a_byte, "lacks 1 of the 256 bytes"),
        (_word_level, "its model is WordLevel, only byte-level BPE"),
    ],
)
def test_an_own_tokenizer_that_cannot_be_used_is_refused_with_the_reason(path, tmp_path, edit, message):
    with pytest.raises(ArtifactError) as refused:
        load_tokenizer(edited(path, tmp_path, edit))
    assert "changed.json" in str(refused.value)
    assert message in str(refused.value)


@pytest.mark.parametrize("content", [None, b"", b"{}", b"not JSON"])
def test_a_file_that_is_no_tokenizer_is_refused_with_its_name(tmp_path, content):
    if content is not None:
        (tmp_path / "own.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"own\.json is not a tokenizer"):
        load_tokenizer(tmp_path / "own.json")
