"""Which documents are validation documents: decided by the text alone."""

import hashlib


def is_validation(text: str, fraction: float, seed: int) -> bool:
    """Whether a document belongs to validation.

    A keyed hash of the text decides, so that equal documents fall on the same side wherever they lie,
    and neither order nor blocks nor ids matter.
    `fraction` is the expected share of documents in validation; `seed` keys the hash.
    """
    if fraction <= 0:
        return False
    key = seed.to_bytes(16, "little")
    hashed = hashlib.blake2b(text.encode(), digest_size=8, key=key, person=b"validation").digest()
    return int.from_bytes(hashed, "little") < fraction * 2.0**64
