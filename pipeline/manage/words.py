"""Amounts as people read them."""


def seconds_in_words(seconds: float) -> str:
    """A duration with its two largest units, such as `3 min 15 s` or `12 days 4 h`; at least a second."""
    left = round(seconds)
    parts: list[tuple[int, str]] = []
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or parts:
            parts.append((count, unit))
    shown = [f"{count} {unit if unit != 'days' or count > 1 else 'day'}" for count, unit in parts[:2] if count]
    return " ".join(shown) or "1 s"


def bytes_in_words(size: float) -> str:
    """A size in decimal units, such as `4.5 TB`."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1000
    raise AssertionError("a size has a unit")
