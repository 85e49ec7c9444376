"""The GPT: embeddings, a stack of blocks, a final norm, and a head tied to the token embedding (notebook 04)."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from helpers.block import Block


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT. Every field is checked when the configuration is made; `ValueError` says what to change.

    vocab_size: number of tokens in the vocabulary. context: the most tokens the model can see at once.
    embed_size: width C of the residual stream. n_layers, n_heads: blocks, and attention heads in each.
    dropout: share of activations set to zero in training. fused: which attention, see `CausalSelfAttention`.
    """

    vocab_size: int = 8192
    context: int = 512
    embed_size: int = 384
    n_layers: int = 7
    n_heads: int = 7
    dropout: float = 0.05
    fused: bool | None = None

    def __post_init__(self):
        for name in ("vocab_size", "context", "embed_size", "n_layers", "n_heads"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}.")
        if self.n_heads > self.embed_size:
            raise ValueError(
                f"n_heads = {self.n_heads} leaves no room in embed_size = {self.embed_size}: "
                f"take at most {self.embed_size} heads, or a wider embedding."
            )
        if not isinstance(self.dropout, (int, float)) or not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be a share from 0 up to, but not including, 1, not {self.dropout!r}.")
        if self.fused not in (None, True, False):
            raise ValueError(f"fused must be True, False or None (choose by device), not {self.fused!r}.")

    @property
    def head_size(self):
        """Width D of one attention head: embed_size // n_heads."""
        return self.embed_size // self.n_heads


class GPT(nn.Module):
    """A decoder-only Transformer language model (notebook 04; Radford et al. 2019).

    It is called with token ids and returns the scores (logits) of every next token, or, given the targets as well,
    their mean cross-entropy.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.embed_size)
        self.position_embedding = nn.Embedding(config.context, config.embed_size)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            Block(config.embed_size, config.n_heads, config.dropout, config.fused) for _ in range(config.n_layers)
        )
        self.norm = nn.LayerNorm(config.embed_size)
        self.head = nn.Linear(config.embed_size, config.vocab_size, bias=False)
        self.head.weight = self.token_embedding.weight  # tied: one matrix reads tokens in and writes them out
        self.apply(self._init_weights)
        for name, p in self.named_parameters():
            # 2·n_layers projections add to the residual stream: scaled so, its variance stays that of one (GPT-2).
            if name.endswith("proj.weight"):
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * config.n_layers))

    @staticmethod
    def _init_weights(module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def n_parameters(self):
        """Return the number of parameters; the tied matrix counts once."""
        return sum(p.numel() for p in self.parameters())

    def embed(self, idx, start=0):
        """Return token plus position embeddings (B, T, C) of idx: (B, T), whose first token stands at `start`."""
        T, limit = idx.size(1), self.config.context
        if start + T > limit:
            raise ValueError(f"{start + T} tokens do not fit into a context of {limit}: pass at most the last {limit}.")
        position = self.position_embedding.weight[start : start + T]  # (T, C)
        return self.dropout(self.token_embedding(idx) + position)  # (B, T, C)

    def hidden(self, idx, cache=None):
        """Return the last hidden states (B, T, C) of idx: (B, T), from which the head makes the logits.

        cache: a `helpers.generation.KVCache` with the tokens before idx. Raises ValueError past the context.
        """
        x = self.embed(idx, len(cache) if cache is not None else 0)  # (B, T, C)
        for i, block in enumerate(self.blocks):
            x = block(x, cache.layers[i] if cache is not None else None)
        return self.norm(x)  # (B, T, C)

    def forward(self, idx, targets=None, cache=None):
        """Return logits (B, T, V) for idx: (B, T); with targets: (B, T) their mean cross-entropy in nats, a scalar."""
        x = self.hidden(idx, cache)  # (B, T, C)
        if targets is None:
            return self.head(x)  # (B, T, V)
        return ChunkedCrossEntropy.apply(x.flatten(0, 1), self.head.weight, targets.flatten())

    @torch.no_grad()
    def attention_weights(self, idx):
        """Return the attention weights of every layer and head for idx: (B, T), as (n_layers, B, H, T, T)."""
        x, weights = self.embed(idx), []
        for block in self.blocks:
            weights.append(block.attention.weights(block.norm1(x)))  # (B, H, T, T)
            x = block(x)
        return torch.stack(weights)


def check_vocabulary(model, tokenizer):
    """Raise ValueError if the model was trained with a vocabulary of another size than the tokenizer's."""
    if model.config.vocab_size != tokenizer.vocab_size:
        raise ValueError(
            f"The model has a vocabulary of {model.config.vocab_size} tokens, the tokenizer one of {tokenizer.vocab_size}: "
            "use the tokenizer that the model was trained with."
        )


class ChunkedCrossEntropy(torch.autograd.Function):
    """The mean cross-entropy of the logits x weightᵀ, which never exist all at once (notebook 05, "Cross-entropy").

    B·T × V logits are the largest tensor of a training step. They are made for a chunk of tokens at a time, and the
    chunk's gradient, which is softmax(logits) minus one at the target, is taken at once, so that nothing need be kept.
    """

    @staticmethod
    def forward(ctx, x, weight, targets, chunk=1024):
        """x: (N, C). weight: (V, C). targets: (N,). Returns a scalar, in nats."""
        total, grad_x, grad_weight = 0.0, torch.empty_like(x), torch.zeros_like(weight)
        for x_part, target, grad_part in zip(x.split(chunk), targets.split(chunk), grad_x.split(chunk), strict=True):
            logits = F.linear(x_part, weight)  # (chunk, V)
            log_probs = logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
            total = total - log_probs.gather(1, target[:, None]).sum()
            if ctx.needs_input_grad[0]:
                grad = log_probs.exp_()  # p, in the memory of log p
                grad.scatter_add_(1, target[:, None], grad.new_full((len(target), 1), -1.0))  # p − y
                grad = grad.to(logits.dtype)
                grad_part.copy_(grad @ weight)
                grad_weight += grad.t() @ x_part
        ctx.save_for_backward(grad_x / len(targets), grad_weight / len(targets))
        return total / len(targets)

    @staticmethod
    def backward(ctx, grad_loss):
        """Scale the gradients found on the way forward."""
        grad_x, grad_weight = ctx.saved_tensors
        return grad_loss * grad_x, grad_loss * grad_weight, None, None
