"""Words that several tasks draw from: common, short, and one token in most vocabularies."""

from __future__ import annotations


def words(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


MEN = words(
    """
    John Tom James Dan Paul Mark Bob Peter David Michael Robert Kevin Steve Jack Simon Adam Martin Henry George
    Frank Sam Charles Joe Ben Eric Brian Andrew Daniel Richard William
    """
)
WOMEN = words(
    """
    Mary Sarah Anna Jane Alice Susan Emma Lucy Kate Laura Helen Grace Rachel Ruth Claire Julia Nancy Diane Linda
    Maria Lisa Karen Amy Jennifer Elizabeth Margaret Barbara Emily Rose Anne
    """
)
NAMES = (*WOMEN, *MEN)
