"""The whole GPT against an independent one: GPT-2 of `transformers`, with its weights copied from ours."""

import pytest
import torch
from torch.testing import assert_close
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from helpers.gpt import GPT, GPTConfig
from helpers.presets import PRESETS

NAMES = {  # ours → those of GPT-2
    "token_embedding": "transformer.wte",
    "position_embedding": "transformer.wpe",
    "norm1": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.proj": "attn.c_proj",
    "norm2": "ln_2",
    "feed_forward.expand": "mlp.c_fc",
    "feed_forward.proj": "mlp.c_proj",
    "norm": "transformer.ln_f",
}


def gpt2_name(name):
    """What GPT-2 calls the parameter that we call `name`."""
    if name.startswith("blocks."):
        _, i, part = name.split(".", 2)
        ours = next(ours for ours in NAMES if part.startswith(ours + "."))
        return f"transformer.h.{i}." + part.replace(ours, NAMES[ours])
    ours, kind = name.split(".")
    return f"{NAMES[ours]}.{kind}"


def as_in_gpt2(name, tensor):
    """GPT-2 keeps the matrices of its blocks as (inputs, outputs), we as (outputs, inputs)."""
    return tensor.T if name.startswith("blocks.") and tensor.dim() == 2 else tensor


def gpt2_like(model):
    """A GPT-2 of the shape and the weights of our model, also where the heads do not divide the width."""
    c, D = model.config, model.config.head_size
    divides = c.embed_size % c.n_heads == 0
    gpt2 = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=c.vocab_size,
            n_positions=c.context,
            n_embd=c.embed_size,
            n_layer=c.n_layers,
            n_head=c.n_heads if divides else 1,
            n_inner=6 * c.embed_size,
            activation_function="relu",
            attn_implementation="eager",
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    if not divides:  # GPT-2 refuses such a shape, its parts do not: give each attention H heads of D
        for block in gpt2.transformer.h:
            attn, inner = block.attn, c.n_heads * D
            attn.num_heads, attn.head_dim, attn.split_size, attn.scaling = c.n_heads, D, inner, D**-0.5
            attn.c_attn, attn.c_proj = Conv1D(3 * inner, c.embed_size), Conv1D(c.embed_size, inner)
    weights = {gpt2_name(name): as_in_gpt2(name, p.detach()).clone() for name, p in model.named_parameters()}
    missing, unexpected = gpt2.load_state_dict(weights, strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])  # tied, as ours
    return gpt2.to(model.head.weight.dtype).eval()


def random_gpt(config, noise):
    """A GPT whose every parameter, also norms and biases, is random."""
    model = GPT(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(noise * torch.randn_like(p))
    return model


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("n_heads", [4, 5])
def test_the_gpt_equals_an_independent_gpt2(n_heads, fused):
    """Logits, loss and the gradient of every parameter equal GPT-2's, with heads that divide the width and that do not."""
    model = random_gpt(GPTConfig(97, 24, 32, 3, n_heads, fused=fused), noise=0.1).double()
    gpt2, ids = gpt2_like(model), torch.randint(97, (3, 24))
    assert_close(model(ids), gpt2(ids).logits)
    loss = model(ids[:, :-1], ids[:, 1:])
    expected = gpt2(ids, labels=ids).loss  # GPT-2 shifts the targets by itself, and takes the loss in float32
    assert_close(loss.float(), expected.float())
    loss.backward()
    expected.backward()
    theirs = dict(gpt2.named_parameters())
    assert len(theirs) == len(list(model.parameters()))
    for name, p in model.named_parameters():
        grad = theirs[gpt2_name(name)].grad
        assert grad.abs().max() > 1e-6
        assert_close(as_in_gpt2(name, p.grad), grad, rtol=1e-5, atol=1e-7, msg=lambda m, name=name: f"{name}: {m}")


def test_the_full_model_with_heads_of_54_equals_an_independent_gpt2():
    """At the full shape, over the whole context, logits equal those of a GPT-2 that is given 7 heads of 54: to 1e-4."""
    model = random_gpt(PRESETS["full"].model, noise=0.02)
    gpt2, ids = gpt2_like(model), torch.randint(8192, (1, 512))
    assert sum(p.numel() for p in gpt2.parameters()) == 19_833_858
    with torch.no_grad():
        logits, expected = model(ids), gpt2(ids).logits
    assert expected.std() > 0.3  # large enough for 1e-4 to mean something
    assert_close(logits, expected, rtol=0, atol=1e-4)
