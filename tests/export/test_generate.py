"""Text from an exported folder."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.artifact.files import ArtifactError
from pipeline.export.generate import generate


@pytest.fixture
def folder(make_model, export_model):
    return export_model(make_model(vocab_size=300))[0]


def text(folder, prompt="def ", count=12, temperature=1.0, top_p=0.9, seed=0):
    return "".join(generate(folder, prompt, count, temperature, top_p, seed))


def test_greedy_text_equals_that_of_transformers_own_loop(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([[1, *tokenizer("def ").input_ids]])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)
    expected = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
    found = text(folder, temperature=0.0)
    assert found
    assert expected.startswith(found)  # all but bytes of an unfinished character at the end


def test_the_seed_decides_and_the_smallest_top_p_is_greedy(folder):
    assert text(folder, seed=3) == text(folder, seed=3)
    assert len({text(folder, seed=seed) for seed in range(5)}) > 1
    assert text(folder, top_p=0.0, seed=4) == text(folder, temperature=0.0)


def test_text_stops_at_the_last_position(folder):
    assert len(list(generate(folder, "def " * 2, 10_000, 1.0, 1.0, 1))) <= 64


def test_a_prompt_that_fills_all_positions_is_refused_with_both_numbers(folder):
    with pytest.raises(ArtifactError, match=r"the prompt has \d+ tokens, the model has 64 positions"):
        text(folder, prompt="word " * 100)


def test_a_folder_that_is_no_export_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"is no exported model: it has no config\.json"):
        text(tmp_path)
