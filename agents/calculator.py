"""Arithmetic for models that cannot do it: an expression is parsed, and only arithmetic is evaluated.

Nothing is handed to `eval`: the syntax tree is walked, and a name, a call or an operator that is not listed here is an
error. Sizes are limited, because `9 ** 9 ** 9` is short and its value is not.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

__all__ = ["calculator"]

LONGEST_EXPRESSION = 500
LARGEST_POWER = 10_000
"""Bits of the largest power: more takes seconds and gigabytes."""
LARGEST_FACTORIAL = 1000
OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
CONSTANTS = {"pi": math.pi, "e": math.e}


def _factorial(n: int) -> int:
    if n > LARGEST_FACTORIAL:
        raise ValueError(f"the factorial of a number above {LARGEST_FACTORIAL}")
    return math.factorial(n)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "round": round,
    "min": min,
    "max": max,
    "sqrt": math.sqrt,
    "log": math.log,
    "exp": math.exp,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "floor": math.floor,
    "ceil": math.ceil,
    "gcd": math.gcd,
    "factorial": _factorial,
}


def calculator(expression: str) -> str:
    """Evaluate an arithmetic expression, for instance "(3 + 4) * 2 ** 5 / sqrt(16)".

    Knows + - * / // % ** and parentheses, pi, e, and abs, round, min, max, sqrt, log, exp, sin, cos, tan, floor, ceil,
    gcd and factorial.
    """
    if len(expression) > LONGEST_EXPRESSION:
        raise ValueError(f"the expression is longer than {LONGEST_EXPRESSION} characters")
    value = _evaluate(ast.parse(expression.strip(), mode="eval").body)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > LARGEST_POWER:
        raise ValueError(f"{base} ** {exponent} is too large")
    return base**exponent


def _evaluate(node: ast.AST) -> Any:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.Name(id=name) if name in CONSTANTS:
            return CONSTANTS[name]
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_evaluate(left), _evaluate(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_evaluate(left), _evaluate(right))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_evaluate(operand))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*map(_evaluate, arguments))
        case _:
            raise ValueError(f"{ast.unparse(node)!r} is not arithmetic")
