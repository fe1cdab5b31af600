"""Errors of real endpoints: which of them say that a prompt is too long."""

from __future__ import annotations

import pytest

from podium.agents.too_long import too_long

TOO_LONG = {
    "OpenAI": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens. "
    "Please reduce the length of the messages.",
    "OpenAI, newer": "Your input exceeds the context window of this model. Please adjust your input and try again.",
    "OpenAI, newest": "Your input exceeds the model's context window",
    "vLLM": "This model's maximum context length is 16384 tokens. However, you requested 122946 tokens (112946 in the "
    "messages, 10000 in the completion). Please reduce the length of the messages or completion.",
    "vLLM, prompt and reply": "'max_tokens' or 'max_completion_tokens' is too large: 8192. This model's maximum "
    "context length is 4096 tokens and your request has 20 input tokens (8192 > 4096 - 20).",
    "vLLM, newer": "This model's maximum context length is 262144 tokens. However, you requested 0 output tokens and "
    "your prompt contains at least 262145 input tokens, for a total of at least 262145 tokens.",
    "vLLM, engine": "The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure that "
    "`max_model_len` is no smaller than the number of text tokens.",
    "SGLang": "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
    "SGLang, prompt and reply": "Requested token count exceeds the model's maximum context length of 4096 tokens.",
    "TGI": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 2048 `inputs` tokens",
    "TGI, input": "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000",
    "Ollama": "prompt too long; exceeded max context length by 4 tokens",
    "Ollama, input": "the input length exceeds the context length",
    "llama.cpp": "request (4390 tokens) exceeds the available context size (4096 tokens), try increasing it",
    "llama.cpp, older": "the request exceeds the available context size. try increasing the context size or enable "
    "context shift",
    "llama.cpp, in a reply": "Context size has been exceeded.",
    "llama-cpp-python": "Requested tokens (2285) exceed context window of 2048",
    "LM Studio": "The number of tokens to keep from the initial prompt is greater than the context length.",
    "LiteLLM": "litellm.BadRequestError: Context Window exceeded for given call.",
    "Anthropic": "prompt is too long: 207791 tokens > 200000 maximum",
    "Anthropic, prompt and reply": "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, "
    "decrease input length or `max_tokens` and try again",
    "Google": "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
    "Mistral": "Prompt contains 41000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
    "xAI": "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
    "Cohere": "too many tokens: total number of tokens in the prompt cannot exceed 4081",
    "Bedrock": "Input is too long for requested model.",
    "somebody's": "Input length (265330) exceeds model's maximum context length (262144).",
    "somebody's, in lines": "the prompt is\n  too long",
}
OTHERS = (
    "max_tokens must be at most 8192: the maximum value for max_tokens is 8192",
    "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the "
    "`context_window` for this model",
    "max_tokens is too large: 100000. This model supports at most 16384 completion tokens.",
    "max_tokens: 300000 > 200000, which is the maximum allowed number of output tokens for this model",
    "max_output_tokens (200000) exceeds model maximum output tokens (128000)",
    "maximum number of stop tokens is 4",
    "input should be a string; prompt_cache_key is too long",
    "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length 5 instead.",
    "Invalid input: temperature exceeds the maximum value of 2",
    "Unrecognized request argument supplied: context_length",
    "the image in the input is missing",
    "a prompt must not be empty",
)


@pytest.mark.parametrize("endpoint", TOO_LONG)
def test_a_prompt_that_is_too_long_is_told_from_other_refusals(endpoint: str) -> None:
    assert too_long(TOO_LONG[endpoint])


@pytest.mark.parametrize("message", OTHERS)
def test_what_is_about_another_length_is_another_refusal(message: str) -> None:
    assert not too_long(message)


def test_a_code_says_it_in_any_language() -> None:
    assert too_long("no", "context_length_exceeded", "invalid_request_error")
    assert too_long("non", 400, "exceed_context_size_error")
    assert not too_long("no", None, 400)
