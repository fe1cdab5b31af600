"""Tools are Python functions: type hints become the schema that a model sees, the docstring says when to use them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

PRICES = {"apple": 0.40, "pear": 0.55, "melon": 3.20}
STOCK = {"apple": 120, "pear": 0, "melon": 7}

Fruit = Literal["apple", "pear", "melon"]


def price(fruit: Fruit, count: Annotated[int, Field(ge=1)] = 1) -> float:
    """The price of some fruit in dollars; ten or more of a kind are a tenth cheaper."""
    whole = PRICES[fruit] * count
    return round(whole * 0.9 if count >= 10 else whole, 2)


async def in_stock(fruit: Fruit) -> int:
    """How many of a fruit the shop has now. Async functions are awaited; plain ones run in a thread."""
    return STOCK[fruit]
