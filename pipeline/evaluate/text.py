"""The text behind token ids, byte for byte: a row may cut a character, which `decode` would replace."""

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
        if silent[number]:
            texts.append(b"")
        elif number in added:
            texts.append(added[number])
        else:
            texts.append(bytes(byte_of[character] for character in tokenizer.id_to_token(number) or ""))
    return texts


def byte_characters() -> list[str]:
    """The character that byte-level BPE writes for each byte: GPT-2's table, where visible ones are themselves."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte) if byte in visible else chr(next(spare)) for byte in range(256)]


def join_text(texts: list[bytes], ids: np.ndarray) -> bytes:
    """The bytes that a sequence of ids stands for."""
    return b"".join([texts[number] for number in ids.tolist()])
