"""The text behind token ids, byte for byte: a row may begin and end within a character, which `decode` would replace."""

import numpy as np
from tokenizers import Tokenizer

from pipeline.tokenizer.lengths import token_bytes


def token_texts(tokenizer: Tokenizer) -> list[bytes]:
    """The bytes of every id of a byte-level tokenizer; empty for special tokens, which stand for no text."""
    silent = token_bytes(tokenizer) == 0
    added = {number: token.content.encode() for number, token in tokenizer.get_added_tokens_decoder().items()}
    byte_of = {character: byte for byte, character in enumerate(byte_characters())}
    texts = []
    for number in range(len(silent)):
        written = "" if silent[number] or number in added else tokenizer.id_to_token(number)
        texts.append(b"" if silent[number] else added.get(number, bytes(byte_of[c] for c in written)))
    return texts


def byte_characters() -> list[str]:
    """The character that byte-level BPE writes for each of the 256 bytes (GPT-2's table: visible Latin-1 stands for itself)."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte) if byte in visible else chr(next(spare)) for byte in range(256)]


def join_text(texts: list[bytes], ids: np.ndarray) -> bytes:
    """The bytes that a sequence of ids stands for."""
    return b"".join([texts[number] for number in ids.tolist()])
