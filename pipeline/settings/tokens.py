"""What decides the content of one block of tokens."""

from pydantic import Field

from pipeline.settings.base import Settings, execution
from pipeline.settings.corpus import MAX_LINE_BYTES, Validation


class TokenizeStep(Settings):
    """What decides a block's tokens, beside its raw files and the tokenizer."""

    validation: Validation = Validation()
    max_line_bytes: int = Field(MAX_LINE_BYTES, ge=1024)
    """A longer line is counted as bad and skipped without being held in memory."""
    max_bad_fraction: float = execution(0.001, ge=0, le=1)
    """A larger fraction of unreadable lines refuses the block. It decides whether there is a result, not which."""
