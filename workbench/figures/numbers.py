"""How numbers are written: three significant digits, thin-space thousands, a true minus, signs on effects."""

from __future__ import annotations

import math

THIN = "\u2009"
MINUS = "\u2212"
UNIT_WORDS = {
    "logit": "logits",
    "prob": "probability",
    "nat": "nats",
    "fraction": "fraction",
    "activation": "activation",
    "attention": "attention weight",
    "rank": "rank",
    "cosine": "cosine similarity",
    "perplexity": "perplexity",
    "correlation": "correlation",
}


def number(value: float | None, *, signed: bool = False, digits: int = 3) -> str:
    """`value` for a reader: `1.23`, `−0.0456`, `12 300`, `1.2e−7`; `–` where there is none. `signed` adds a plus."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    size = abs(value)
    # Rounding may add a digit (9.999 → 10.0), so the exponent is read after it.
    mantissa, _, power = f"{size:.{digits - 1}e}".partition("e")
    exponent = int(power)
    if size == 0:
        text = "0"
    elif exponent < -4 or exponent >= 7:
        text = f"{mantissa}e{exponent}".replace("-", MINUS)
    else:
        text = group(f"{size:.{max(digits - 1 - exponent, 0)}f}")
    sign = MINUS if value < 0 else "+" if signed and size else ""
    return sign + text


def whole(value: int) -> str:
    """A count with thin-space thousands: `134 515 008`."""
    return group(str(value)) if value >= 0 else MINUS + group(str(-value))


def short(value: float) -> str:
    """A count as people say it: `135 M`, `1.2 B`, `576`."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if abs(value) >= size:
            return f"{number(value / size)}{THIN}{letter}"
    return group(str(round(value)))


def percent(value: float) -> str:
    """A share as percent with three significant digits: `45.6 %`."""
    return f"{number(100 * value)}{THIN}%"


def seconds(value: float | None) -> str:
    """A duration for a reader: `0.4 s`, `12 s`, `3 min 5 s`."""
    if value is None:
        return ""
    if value < 10:
        return f"{value:.1f}{THIN}s"
    whole_seconds = round(value)
    if whole_seconds < 60:
        return f"{whole_seconds}{THIN}s"
    minutes, rest = divmod(whole_seconds, 60)
    return f"{minutes}{THIN}min {rest}{THIN}s" if minutes < 60 else f"{minutes // 60}{THIN}h {minutes % 60}{THIN}min"


def size(count: int) -> str:
    """Bytes for a reader: `1.2 GB`."""
    for limit, letter in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            return f"{number(count / limit)}{THIN}{letter}"
    return f"{count}{THIN}B"


def group(text: str) -> str:
    """Digits of the whole part in threes, with thin spaces, from five digits on."""
    whole_part, dot, rest = text.partition(".")
    if len(whole_part) > 4:
        first = len(whole_part) % 3 or 3
        pieces = [whole_part[:first], *(whole_part[i : i + 3] for i in range(first, len(whole_part), 3))]
        whole_part = THIN.join(pieces)
    return whole_part + dot + rest
