import pytest

from pipeline.settings.base import SettingsError
from pipeline.settings.workflow import WorkflowSettings

WORKFLOW = {"domains": {"readmes": {"weight": 1.0}}, "stages": ["demo"]}
LOCAL = {"corpus": "local", "domains": {"wiki": {"weight": 1.0, "paths": ["wiki/*.json.gz"]}}}


def test_two_keys_are_enough() -> None:
    workflow = WorkflowSettings.parse(WORKFLOW)
    assert (workflow.corpus, workflow.results, workflow.stages_folder) == ("embedded", "results", "config/stages")
    assert (workflow.tokenizer.vocab_size, workflow.validation.fraction) == (8192, 0.01)


def test_a_local_corpus_may_have_domains_of_any_name() -> None:
    assert list(WorkflowSettings.parse(WORKFLOW | LOCAL).domains) == ["wiki"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"domains": {"wiki": {"weight": 1}}},
            r"^domains\.wiki: the embedded sample has no such domain; use python_code",
        ),
        ({"domains": {"readmes": {}}}, r"^domains\.readmes\.weight: is missing; give its share of the training tokens"),
        ({"domains": {"readmes": None}}, r"^domains\.readmes: None: keys with values are wanted here$"),
        ({"domains": {"readmes": {"weight": -1}}}, r"^domains\.readmes\.weight: -1: .* greater than or equal to 0$"),
        ({"domains": {"readmes": {"weight": "1e-4"}}}, r"^domains\.readmes\.weight: '1e-4': .*write 0\.0001"),
        (
            {"domains": {"readmes": {"weight": 1, "wieght": 2}}},
            r"^domains\.readmes\.wieght: .*did you mean 'weight'\?$",
        ),
        ({**LOCAL, "domains": {"a/b": {"weight": 1}}}, r"^domains: 'a/b' is not a domain's name; use letters"),
        ({**LOCAL, "domains": {"..": {"weight": 1}}}, r"^domains: '\.\.' is not a domain's name"),
        ({"stages": []}, r"^stages: there is no stage to train; write at least one, for instance \[demo\]$"),
        ({"stages": "demo"}, r"^stages: 'demo': a list is wanted here"),
        ({"stages": ["demo", "demo"]}, r"^stages: 'demo' stands there twice; name each stage once$"),
        ({"stages": ["../demo"]}, r"^stages: '\.\./demo' is not a stage's name; use letters"),
        ({"stages": ["demo\n"]}, r"^stages: 'demo\\n' is not a stage's name"),
        ({"tokenizer": {"vocab_size": 261}}, r"^tokenizer\.vocab_size: 261 is too small.*write at least 262$"),
        ({"corpus": "dolma"}, r"^corpus: 'dolma': input should be 'embedded' or 'local'$"),
        ({"corpus_bytes": 2.4e7}, r"^corpus_bytes: 24000000\.0: input should be a valid integer$"),
        ({"validation": {"fraction": 1}}, r"^validation\.fraction: 1: input should be less than 1$"),
        ({"max_bad_fraction": 1.5}, r"^max_bad_fraction: 1\.5: .*less than or equal to 1$"),
        ({"stage": ["demo"]}, r"^stage: unknown key; did you mean 'stages'\?$"),
        ({"export": {"dtype": "fp8"}}, r"^export\.dtype: 'fp8': input should be 'float32' or 'bfloat16'$"),
    ],
)
def test_a_wrong_configuration_is_refused_by_key_value_and_way_out(change: dict, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        WorkflowSettings.parse(WORKFLOW | change)
