"""How the embedded tasks are asked: several wordings for each type, the last two of each kept for the test split.

No wording names its type, and the types share their words ("first", "order", "backwards"), so a policy that wants to
route must read which words meet, not look for one of them. Test wordings use the words of the train wordings in new
orders.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

HELD_OUT: Final = 2
"""How many wordings of each list (its last ones) only the test split uses."""

WORDINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "products": (
        "multiply {a} by {b}",
        "what is {a} times {b}?",
        "{a} * {b} = ?",
        "product of {a} and {b}",
        "{a} times {b} is how much?",
        "multiply the numbers {a} and {b}",
        "what is the product of {a} and {b}?",
        "how much is {a} times {b}?",
    ),
    "caesar_cipher": (
        "move each letter of {w} back by one",
        "decode {w}, one letter back",
        "{w} with each letter one back",
        "shift {w} back by one",
        "what is {w} one letter back?",
        "the code word {w}, decoded",
        "decode the word {w}",
        "shift each letter of {w} back by one",
    ),
    "word_sequence_reversal": (
        "write the list {items} backwards",
        "{items}, last word first",
        "list {items} from the end",
        "the words {items} in reverse order",
        "turn around the list {items}",
        "reverse the order of {items}",
        "list the words {items} in reverse order",
        "write {items} with the last word first",
    ),
    "spell_backward": (
        "spell {w} backwards",
        "reverse {w}",
        "{w} from right to left",
        "write {w} from end to start",
        "what is {w} backwards?",
        "the word {w} in reverse",
        "write {w} backwards",
        "spell the word {w} from right to left",
    ),
    "number_sorting up": (
        "sort {items} from small to large",
        "put {items} in rising order",
        "{items}: smallest first",
        "order the numbers {items}, going up",
        "from small to large: {items}",
        "list {items} with the smallest first",
        "put {items} in order, smallest first",
        "sort the numbers {items}, going up",
    ),
    "number_sorting down": (
        "sort {items} from large to small",
        "put {items} in falling order",
        "{items}: largest first",
        "order the numbers {items}, going down",
        "from large to small: {items}",
        "list {items} with the largest first",
        "put {items} in order, largest first",
        "sort the numbers {items}, going down",
    ),
    "word_sorting up": (
        "sort {items} from a to z",
        "put {items} in the order of a dictionary",
        "{items} by alphabet",
        "order the words {items}, a first",
        "from a to z: {items}",
        "list {items} by alphabet",
        "put the words {items} in order, a first",
        "sort {items} by alphabet",
    ),
    "word_sorting down": (
        "sort {items} from z to a",
        "put {items} in the order of a dictionary from its end",
        "{items} by alphabet, z first",
        "order the words {items}, z first",
        "from z to a: {items}",
        "list {items} by alphabet, from z",
        "put the words {items} in order, z first",
        "sort {items} by alphabet, z first",
    ),
    "word_sorting+spell_backward": (
        "sort {items} from a to z, then spell the first backwards",
        "first of {items} by alphabet, in reverse",
        "reverse the first by alphabet: {items}",
        "the first word of {items} in a dictionary, from right to left",
        "order the words {items}, write the first backwards",
        "{items} by alphabet: what is the first backwards?",
        "sort {items} by alphabet, then reverse the first",
        "spell the first of {items} by alphabet from right to left",
    ),
    "word_sorting+caesar_cipher": (
        "sort {items} from a to z, then decode the first",
        "first of {items} by alphabet, one letter back",
        "decode the first by alphabet: {items}",
        "the first word of {items} in a dictionary, shift it back by one",
        "order the words {items}, move the first back by one",
        "{items} by alphabet: what is the first, decoded?",
        "sort {items} by alphabet, then shift the first back by one",
        "decode the first of {items} by alphabet",
    ),
    "number_sorting+spell_backward": (
        "sort {items}, then write the largest backwards",
        "the largest of {items} in reverse",
        "reverse the largest of {items}",
        "what is the largest of {items} from right to left?",
        "put {items} in rising order, then spell the last backwards",
        "{items}: what is the largest, backwards?",
        "write the largest of {items} from right to left",
        "sort {items}, then reverse the last",
    ),
    "spell_backward+caesar_cipher": (
        "reverse {w}, then shift it back by one",
        "spell {w} backwards and decode it",
        "{w} from right to left, each letter one back",
        "decode {w} backwards",
        "move each letter of {w} back by one, from end to start",
        "write {w} backwards, with each letter one back",
        "decode the word {w} from right to left",
        "spell {w} backwards, then shift each letter back by one",
    ),
}
