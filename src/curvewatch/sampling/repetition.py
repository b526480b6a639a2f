"""How much of a text's end is a unit said over and over again, as young language models do."""

from __future__ import annotations

from collections.abc import Sequence


def repetition_length(ids: Sequence[int]) -> int:
    """Tokens at the end of a text that are covered by whole repetitions of one unit, the most over all units.

    A unit of u tokens repeats if the text ends in r >= 2 copies of it behind one another; these cover r * u tokens.
    "a b c b c" ends in "b c" twice: 4. "c b c b c" too: 4, since the first "c" is no whole copy. "a a a a a": 5.

    Args:
        ids: Token ids, n of them.

    Returns:
        0 if nothing repeats, else 2 to n. The time is linear in n.
    """
    backwards = list(ids)[::-1]
    n = len(backwards)
    # Gusfield's Z: prefix[u] tokens of the end agree with those u places before them, so that a unit of u tokens
    # covers u + prefix[u] tokens, of which whole copies count.
    prefix = [0] * n
    left = right = longest = 0
    for u in range(1, n):
        match = min(right - u, prefix[u - left]) if u < right else 0
        while u + match < n and backwards[match] == backwards[u + match]:
            match += 1
        if u + match > right:
            left, right = u, u + match
        prefix[u] = match
        if match >= u:
            longest = max(longest, (u + match) // u * u)
    return longest
