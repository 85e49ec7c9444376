"""The Transformer block: attention mixes over time, the feed-forward network thinks per token (notebook 03)."""

from torch import nn

from helpers.attention import CausalSelfAttention

FFN_FACTOR = 6  # the hidden layer is six times as wide as the embedding: 384 → 2304 → 384


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between, the same for every token (notebook 03, "The feed-forward network").

    Vaswani et al. 2017, section 3.3 (there the factor is 4).
    """

    def __init__(self, embed_size, dropout=0.0):
        super().__init__()
        self.expand = nn.Linear(embed_size, FFN_FACTOR * embed_size)
        self.proj = nn.Linear(FFN_FACTOR * embed_size, embed_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        """Map x: (B, T, C) to (B, T, C), token by token."""
        hidden = self.expand(x).relu()  # (B, T, 6C)
        return self.dropout(self.proj(hidden))  # (B, T, C)


class Block(nn.Module):
    """One layer of the GPT: x + attention(norm(x)), then x + feed_forward(norm(x)) (notebook 03, "The block").

    LayerNorm stands before each part (pre-norm, as in GPT-2), so that the residual stream runs through unchanged.
    """

    def __init__(self, embed_size, n_heads, dropout=0.0, fused=None):
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_size)
        self.attention = CausalSelfAttention(embed_size, n_heads, dropout, fused)
        self.norm2 = nn.LayerNorm(embed_size)
        self.feed_forward = FeedForward(embed_size, dropout)

    def forward(self, x, cache=None):
        """Map x: (B, T, C) to (B, T, C). cache: see `CausalSelfAttention.forward`."""
        x = x + self.attention(self.norm1(x), cache)  # (B, T, C)
        return x + self.feed_forward(self.norm2(x))  # (B, T, C)
