"""A random Llama with a character tokenizer, small enough to make in every test run."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def make_tiny_llama(folder: Path, *, seed: int = 0, heads: int = 4, kv_heads: int = 2, kind: str = "llama") -> Path:
    """Write model and tokenizer to `folder` and return it. 2 layers, width 32, 64 positions; about 25,000 weights."""
    import torch
    import transformers
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    special = ["<pad>", "<eos>", "<unk>", "<system>", "<user>", "<assistant>"]
    characters = string.ascii_letters + string.digits + string.punctuation + " \n"
    vocabulary = {token: index for index, token in enumerate([*special, *characters])}
    inner: Any = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    inner.decoder = decoders.Fuse()
    names = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    tokenizer: Any = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, additional_special_tokens=special[3:], **names
    )
    tokenizer.chat_template = TEMPLATE
    config_class, model_class = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    }[kind]
    config: Any = config_class(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=64,
        initializer_range=0.3,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    torch.manual_seed(seed)
    model: Any = model_class(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
