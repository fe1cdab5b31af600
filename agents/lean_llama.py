"""The forward pass of a Llama, written out for decoding small models on a CPU.

A step of a one-million-parameter model is a few hundred thousand multiplications per row; the library's general forward
pass spends several times that on hooks, mask building and module calls. This one does the same arithmetic with the
projections of a layer fused, and in the last layer computes only the last position, the one that is sampled from.
It is used when the architecture is exactly the plain one, and the tests hold it to the library's log-probs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

__all__ = ["LeanLlama"]


class LeanLlama:
    """Next-token logits of a `LlamaForCausalLM`, from a copy of its weights taken when this is made."""

    def __init__(self, module: Any) -> None:
        config = module.config
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.width: int = module.model.layers[0].self_attn.head_dim
        self.hidden: int = config.hidden_size
        self.epsilon: float = config.rms_norm_eps
        self.embedding = module.model.embed_tokens.weight.detach()
        self.norm = module.model.norm.weight.detach()
        self.head = module.lm_head.weight.detach()
        self.layers = [
            (
                layer.input_layernorm.weight.detach(),
                torch.cat([p.weight.detach() for p in _projections(layer.self_attn)]),
                layer.self_attn.o_proj.weight.detach(),
                layer.post_attention_layernorm.weight.detach(),
                torch.cat([layer.mlp.gate_proj.weight.detach(), layer.mlp.up_proj.weight.detach()]),
                layer.mlp.down_proj.weight.detach(),
            )
            for layer in module.model.layers
        ]
        positions = torch.arange(config.max_position_embeddings, device=self.embedding.device)[None]
        cos, sin = module.model.rotary_emb(self.embedding[:1, None], positions)
        half = self.width // 2
        self.cos = cos[0].contiguous()
        self.sin = torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=-1)  # the minus of rotate_half, once

    @staticmethod
    def fits(module: Any) -> bool:
        """Whether `module` is a plain float32 Llama on a CPU, which is where this pays."""
        config = module.config
        return (
            type(module).__name__ == "LlamaForCausalLM"
            and module.device.type == "cpu"
            and module.dtype == torch.float32
            and config.hidden_act == "silu"
            and not config.attention_bias
            and not config.mlp_bias
            and module.model.rotary_emb.rope_type == "default"
            and all(type(p) is torch.nn.Linear for layer in module.model.layers for p in _projections(layer.self_attn))
        )

    def __call__(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any) -> torch.Tensor:
        """Logits after the last token, (rows, vocabulary). ids: (rows, new); mask: (rows, cached + new)."""
        rows, new = ids.shape
        total = mask.shape[1]
        x = functional.embedding(ids, self.embedding)
        positions = positions.clamp(min=0)
        cos, sin = self.cos[positions][:, :, None], self.sin[positions][:, :, None]
        allowed = mask.bool()[:, None, None, :]
        if new > 1:
            allowed = allowed & torch.ones(new, total, dtype=torch.bool).tril(total - new)
        rotated = self.heads + self.kv_heads
        half = self.width // 2
        last_layer = len(self.layers) - 1
        for index, (norm_in, qkv_weight, out_weight, norm_mlp, gate_up_weight, down_weight) in enumerate(self.layers):
            h = functional.rms_norm(x, (self.hidden,), norm_in, self.epsilon)
            qkv = functional.linear(h, qkv_weight).view(rows, new, rotated + self.kv_heads, self.width)
            qk = qkv[:, :, :rotated]
            qk = torch.addcmul(qk * cos, qk.roll(half, dims=-1), sin).transpose(1, 2)
            keys, values = cache.update(qk[:, self.heads :], qkv[:, :, rotated:].transpose(1, 2), index)
            queries = qk[:, : self.heads]
            if index == last_layer and new > 1:
                queries, x, allowed, new = queries[:, :, -1:], x[:, -1:], allowed[:, :, -1:], 1
            heard = functional.scaled_dot_product_attention(
                queries, keys, values, attn_mask=allowed, enable_gqa=self.heads != self.kv_heads
            )
            x = x + functional.linear(heard.transpose(1, 2).reshape(rows, new, -1), out_weight)
            h = functional.rms_norm(x, (self.hidden,), norm_mlp, self.epsilon)
            gate, up = functional.linear(h, gate_up_weight).chunk(2, dim=-1)
            x = x + functional.linear(functional.silu(gate) * up, down_weight)
        x = functional.rms_norm(x[:, -1], (self.hidden,), self.norm, self.epsilon)
        return functional.linear(x, self.head)


def _projections(attention: Any) -> tuple[Any, Any, Any]:
    return attention.q_proj, attention.k_proj, attention.v_proj
