"""The gate passes and holds back for the reasons it names."""

import pytest

from pipeline.evaluate.gate import Results, judge
from pipeline.settings.base import SettingsError
from pipeline.settings.evaluation import EvaluationSettings, GateSettings

GOOD = Results(bits_per_byte=1.5, unigram_bits_per_byte=3.0, expert_violation=0.4)


def test_a_good_stage_passes_without_reasons() -> None:
    gate = GateSettings(max_bits_per_byte=1.5, max_expert_violation=0.4)
    assert judge(gate, GOOD) == (True, [])


def test_a_stage_at_the_unigram_is_held_back() -> None:
    passed, reasons = judge(GateSettings(), Results(3.0, 3.0, 0.0))
    assert not passed
    assert reasons == ["3.0000 bits per byte are not below the unigram model's 3.0000 (gate.below_unigram)"]


def test_the_unigram_is_ignored_where_the_gate_says_so() -> None:
    assert judge(GateSettings(below_unigram=False), Results(3.1, 3.0, 0.0)) == (True, [])


def test_every_limit_that_fails_is_named() -> None:
    gate = GateSettings(max_bits_per_byte=1.2, max_expert_violation=0.1)
    passed, reasons = judge(gate, Results(3.5, 3.0, 0.4))
    assert not passed
    assert [reason.split("(gate.")[1] for reason in reasons] == [
        "below_unigram)",
        "max_bits_per_byte)",
        "max_expert_violation)",
    ]


def test_a_limit_that_cannot_be_met_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match=r"evaluation\.gate\.max_bits_per_byte"):
        EvaluationSettings.parse({"gate": {"max_bits_per_byte": 0}}, "evaluation")
