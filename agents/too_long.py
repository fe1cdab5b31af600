"""How endpoints say that a prompt does not fit their model: by a code, or in words, and each in its own.

Only what speaks of the prompt or of the context counts. Tokens, lengths and maxima are also what a wrong max_tokens, a
long name or too many stop texts are about, and those are not mended by showing an agent less. Sources: the error
messages of OpenAI, vLLM, SGLang, TGI, Ollama, llama.cpp, LM Studio, LiteLLM, Anthropic, Google, Mistral and xAI, as
their users report them; the tests name them all.
"""

from __future__ import annotations

import re

__all__ = ["too_long"]

CODES = ("context_length_exceeded", "exceed_context_size_error")
"""Of OpenAI and those who follow it, and of llama.cpp."""
CONTEXT = r"context (?:length|window|size|limit)"
ABOVE = r"(?:exceed\w*|overflows?|(?:longer|larger|greater) than|max(?:imum)?|too (?:long|large|big))"
ASKED = r"\b(?:prompt|inputs?)`?(?: (?:tokens?|text|length|token count))?(?: \([^)]{1,40}\))?"
WORDS = re.compile(
    "|".join(
        (
            rf"\b{ABOVE}\b.{{0,60}}\b{CONTEXT}",  # maximum context length is, exceeds the available context size
            rf"\b{CONTEXT}(?: \w+){{0,3}} exceeded|\bcontext (?:is )?too long",
            rf"{ASKED} (?:is |was )?too (?:long|large)",  # prompt is too long: 207791 tokens > 200000 maximum
            rf"{ASKED} (?:cannot |is )?(?:exceed|longer than)",  # the input token count (9) exceeds the maximum
            rf"{ASKED} contains .{{1,60}}, too large",
            r"\bmaximum (?:prompt|input) (?:length|size)",
            r"`inputs` (?:tokens \+|must have less than)",
        )
    ),
    re.IGNORECASE,
)


def too_long(message: str, *codes: object) -> bool:
    """Whether an endpoint refuses a prompt for its length. codes: what else its error says, such as code and type."""
    return any(code in CODES for code in codes) or WORDS.search(" ".join(message.split())) is not None
