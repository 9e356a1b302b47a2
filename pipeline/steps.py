"""The steps: one rule, one subcommand, one module, one name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One step of the workflow."""

    name: str
    module: str
    """Holds a function of the step's name, `(settings, build) -> counts`. Its import closure is the step's code."""
    role: str
    """What its artifact is called by the steps that read it."""
    help: str
    keeps: bool = False
    """Makes only those files again that a damaged copy lacks."""
    resumes: bool = False
    """Continues an unfinished run by itself, and keeps old runs aside."""
    repeatable: bool = True
    """Makes equal bytes of equal inputs."""


STEPS = {
    step.name: step
    for step in (
        Step("download", "pipeline.corpus.download", "raw", "Fetch or make one block of .json.gz files.", keeps=True),
        Step("tokenizer", "pipeline.tokenizer.tokenizer", "tokenizer", "Train the tokenizer, or take the user's own."),
        Step("tokenize", "pipeline.shards.tokenize", "tokens", "Encode one block of raw files as token arrays."),
        Step("mixture", "pipeline.shards.mixture", "mixture", "Plan which documents a stage trains on, in order."),
        Step("pack", "pipeline.shards.pack", "shards", "Pack one block of a stage's shards.", keeps=True),
        Step("validation", "pipeline.shards.validation", "validation", "Pack a stage's validation rows by domain."),
        Step("train", "pipeline.train.train", "train", "Train a stage, or continue its run.", resumes=True),
        Step("evaluate", "pipeline.evaluate.evaluate", "evaluate", "Measure a trained stage and judge its gate."),
        Step("ladder", "pipeline.report.ladder", "ladder", "Fit the scaling law over the finished stages."),
        Step("export", "pipeline.export.export", "export", "Write a folder that transformers loads."),
        Step("report", "pipeline.report.report", "report", "Draw a stage's figures and tables.", repeatable=False),
    )
}
