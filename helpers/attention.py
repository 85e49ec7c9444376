"""Scaled dot-product attention and causal multi-head attention (notebook 02).

Shapes: B batch, T tokens, S positions that can be seen (S = T without a cache), C embedding width, H heads, D head size.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


def causal_mask(T, S=None, *, device=None, dtype=torch.float32):
    """Return the (T, S) matrix that is added to the scores: 0 where a query may look, -inf where the future lies.

    The T queries are the last T of S positions (S = T unless a cache holds earlier ones).
    Built in notebook 02, "The causal mask".
    """
    S = T if S is None else S
    mask = torch.full((T, S), float("-inf"), device=device, dtype=dtype)
    return mask.triu(diagonal=S - T + 1)  # (T, S)


def attention_weights(q, k, mask=None):
    """Return softmax(q kᵀ / √D + mask): for each query, how much it takes from each position.

    q: (B, H, T, D). k: (B, H, S, D). mask: (T, S), added to the scores; `None` lets every query see everything.
    Returns (B, H, T, S); each row sums to one. Vaswani et al. 2017, section 3.2.1; notebook 02, "All queries at once".
    """
    B, H, T, D = q.shape
    S = k.size(2)
    mask = q.new_zeros(()) if mask is None else mask.to(q.dtype)
    # One product computes mask + (q kᵀ)/√D: the (T, S) scores are the largest tensor here, so we write them once.
    scores = torch.baddbmm(mask, q.reshape(B * H, T, D), k.reshape(B * H, S, D).transpose(1, 2), alpha=1 / math.sqrt(D))
    return scores.softmax(dim=-1, dtype=q.dtype).view(B, H, T, S)


def attention(q, k, v, mask=None, dropout=0.0):
    """Return softmax(q kᵀ / √D + mask) v: each query's weighted mean of the values.

    q: (B, H, T, D). k, v: (B, H, S, D). mask: (T, S). dropout: share of the weights set to zero (training only).
    Returns (B, H, T, D). Vaswani et al. 2017, equation 1; notebook 02, "All queries at once".
    """
    weights = F.dropout(attention_weights(q, k, mask), dropout)  # (B, H, T, S)
    return weights @ v  # (B, H, T, D)


class CausalSelfAttention(nn.Module):
    """Multi-head self-attention in which no token sees the future (notebook 02, "Seven heads").

    embed_size need not be a multiple of n_heads: the head size is embed_size // n_heads, the inner width n_heads times
    that (7 heads of 54 are 378 of 384), and the last projection leads back to embed_size.

    fused: `True` for PyTorch's fused kernel, `False` for the version written out above, `None` for the faster of the
    two on this device. Both give the same result.
    """

    def __init__(self, embed_size, n_heads, dropout=0.0, fused=None):
        super().__init__()
        self.n_heads, self.head_size = n_heads, embed_size // n_heads
        self.dropout, self.fused = dropout, fused
        inner = self.n_heads * self.head_size
        self.qkv = nn.Linear(embed_size, 3 * inner)  # q, k and v of all heads in one matrix product
        self.proj = nn.Linear(inner, embed_size)
        self.proj_dropout = nn.Dropout(dropout)

    def split_heads(self, x):
        """Project x: (B, T, C) to q, k, v: (B, H, T, D) each."""
        B, T, _ = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.n_heads, self.head_size)  # (B, T, 3, H, D)
        return qkv.permute(2, 0, 3, 1, 4).unbind(0)  # 3 × (B, H, T, D)

    def forward(self, x, cache=None):
        """Mix x: (B, T, C) over time; returns (B, T, C).

        cache: the keys and values of earlier tokens (`helpers.generation.LayerCache`), to which those of x are added.
        """
        B, T, _ = x.shape
        q, k, v = self.split_heads(x)
        if cache is not None:
            k, v = cache.append(k, v)  # (B, H, S, D)
        S, dropout = k.size(2), self.dropout if self.training else 0.0
        # On CPUs the fused kernel's backward pass is slow in bfloat16: there, plain matrix products win (notebook 02).
        fused = (q.is_cuda or q.dtype != torch.bfloat16) if self.fused is None else self.fused
        if fused and T in (1, S):  # a single query sees everything, a whole sequence needs the usual mask
            y = F.scaled_dot_product_attention(q, k, v, is_causal=T > 1, dropout_p=dropout)
        else:
            y = attention(q, k, v, causal_mask(T, S, device=x.device), dropout)  # (B, H, T, D)
        y = y.transpose(1, 2).reshape(B, T, self.n_heads * self.head_size)  # (B, T, H·D)
        return self.proj_dropout(self.proj(y))  # (B, T, C)

    def weights(self, x):
        """Return the attention weights (B, H, T, T) that this layer gives to x: (B, T, C)."""
        q, k, _ = self.split_heads(x)
        return attention_weights(q, k, causal_mask(x.size(1), device=x.device))
