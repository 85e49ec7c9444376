"""The KV cache changes nothing, the window slides, and probabilities are what the formulas say (notebook 06)."""

import math

import pytest
import torch

from helpers.generation import KVCache, generate, next_token_probs, stream_tokens

CONTEXT = 16  # of small_model
V = 12  # tokens in the tests of probabilities
BAD_SETTINGS = [
    *(("temperature", value) for value in (0, -1, math.nan)),
    *(("top_k", value) for value in (0, -3, 1.5)),
    *(("top_p", value) for value in (0, -0.1, 1.1, math.nan)),
    *(("repetition_penalty", value) for value in (0, -1, math.nan)),
]


def prompts(B, T, vocab_size=320):
    """B random prompts of T tokens."""
    return torch.randint(vocab_size, (B, T), generator=torch.Generator().manual_seed(100 * B + T))


def window_loop(model, idx, n):
    """Continue idx greedily by n tokens with nothing but the whole model on the last `context` tokens."""
    for _ in range(n):
        with torch.no_grad():
            logits = model(idx[:, -model.config.context :])[:, -1]  # (B, V)
        idx = torch.cat((idx, logits.argmax(-1, keepdim=True)), dim=1)
    return idx


def exact_probs(logits, seen=(), temperature=1.0, top_k=None, top_p=None, repetition_penalty=1.0):
    """The probabilities of one row by hand, from a list of logits."""
    scores = list(logits)
    for i in set(seen):
        scores[i] = scores[i] / repetition_penalty if scores[i] > 0 else scores[i] * repetition_penalty
    ranked = sorted(range(len(scores)), key=lambda i: -scores[i])[:top_k]
    weight = {i: math.exp(scores[i] / temperature) for i in ranked}
    kept, reached = {}, 0.0
    for i in ranked:
        if top_p is None or reached < top_p:
            kept[i] = weight[i]
            reached += weight[i] / sum(weight.values())
    return [kept.get(i, 0.0) / sum(kept.values()) for i in range(len(scores))]


# The cache


@pytest.mark.parametrize("T", [1, 5, CONTEXT - 1, CONTEXT, CONTEXT + 7])
@pytest.mark.parametrize("B", [1, 3])
@pytest.mark.parametrize("options", [{"greedy": True}, {"seed": 5, "temperature": 1.3, "repetition_penalty": 1.2}])
def test_cache_changes_no_token_and_no_logit(small_model, options, B, T):
    """With and without cache: the same logits and tokens, from prompts of any length to far past the context."""
    model, seen = small_model.double(), []
    model.head.register_forward_hook(lambda module, args, logits: seen.append(logits))
    cached = generate(model, prompts(B, T), 3 * CONTEXT, **options)
    uncached = generate(model, prompts(B, T), 3 * CONTEXT, use_cache=False, **options)
    torch.testing.assert_close(torch.stack(seen[: 3 * CONTEXT]), torch.stack(seen[3 * CONTEXT :]), atol=1e-9, rtol=0)
    assert cached.shape == (B, T + 3 * CONTEXT) and torch.equal(cached, uncached)


@pytest.mark.parametrize("T", [1, 5, CONTEXT - 1, CONTEXT, CONTEXT + 7])
@pytest.mark.parametrize("use_cache", [True, False])
def test_past_the_context_the_window_slides_by_one_token(small_model, use_cache, T):
    """Token for token, greedy generation equals a loop that runs the whole model on the last `context` tokens."""
    model = small_model.double()
    expected = window_loop(model, prompts(3, T), 3 * CONTEXT)
    assert torch.equal(generate(model, prompts(3, T), 3 * CONTEXT, greedy=True, use_cache=use_cache), expected)


@pytest.mark.parametrize("fused", [True, False, None])
@pytest.mark.parametrize("parts", [[1] * CONTEXT, [5, 1, 1, 9], [CONTEXT - 1, 1], [CONTEXT]])
def test_cached_hidden_states_equal_those_of_the_whole_sequence(small_model, parts, fused):
    """However a sequence is cut into parts, with a cache its hidden states are the same to 1e-5; so is the cache's length."""
    for block in small_model.blocks:
        block.attention.fused = fused
    idx, cache, hidden = prompts(3, CONTEXT), KVCache(small_model, 3), []
    with torch.no_grad():
        for part in idx.split(parts, dim=1):
            hidden.append(small_model.hidden(part, cache))
            assert len(cache) == sum(h.size(1) for h in hidden)
            assert all(layer.length == len(cache) for layer in cache.layers)
        torch.testing.assert_close(torch.cat(hidden, dim=1), small_model.hidden(idx), atol=1e-5, rtol=0)


def test_cache_is_allocated_once_and_its_bytes_are_the_formula(small_model, monkeypatch):
    """One cache of 2·n_layers·B·H·context·D numbers, at the same addresses from the prompt to the end of the context."""
    B, config, hidden, widths, caches, addresses = 3, small_model.config, small_model.hidden, [], [], []

    def spy(idx, cache=None):
        result = hidden(idx, cache)
        widths.append(idx.size(1))
        if cache is not None:
            caches.append(cache)
            addresses.append([t.data_ptr() for layer in cache.layers for t in (layer.k, layer.v)])
        return result

    monkeypatch.setattr(small_model, "hidden", spy)
    generate(small_model, prompts(B, 4), 2 * CONTEXT, greedy=True)
    assert widths[: CONTEXT - 3] == [4] + [1] * (CONTEXT - 4)  # the last of these fills the cache
    assert all(cache is caches[0] for cache in caches) and len(caches) >= CONTEXT - 3 and len(caches[0]) == CONTEXT
    assert all(a == addresses[0] for a in addresses)
    tensors = [t for layer in caches[0].layers for t in (layer.k, layer.v)]
    expected = 2 * config.n_layers * B * config.n_heads * config.context * config.head_size * 4
    assert sum(t.untyped_storage().nbytes() for t in tensors) == expected
    assert len(set(addresses[0])) == 2 * config.n_layers


# The probabilities of the next token


@pytest.mark.parametrize(
    "settings",
    [
        {},
        *({"temperature": t} for t in (0.25, 3.0)),
        *({"top_k": k} for k in (1, 5, V)),
        *({"top_p": p} for p in (0.01, 0.5, 0.95)),
        *({"repetition_penalty": r} for r in (0.7, 1.8)),
        {"temperature": 2.0, "top_p": 0.6},
        {"temperature": 0.7, "top_k": 6, "top_p": 0.8},
        {"temperature": 0.6, "top_k": 5, "top_p": 0.9, "repetition_penalty": 1.5},
        {"temperature": 1.7, "top_k": 8, "top_p": 0.7, "repetition_penalty": 0.6},
    ],
    ids=str,
)
def test_probabilities_equal_those_computed_by_hand(settings):
    """Each setting, and several in the documented order, give the probabilities of an independent computation in Python."""
    logits = 2 * torch.randn(20, V, generator=torch.Generator().manual_seed(3))
    before, seen = logits.clone(), prompts(20, 4, V)
    probs = next_token_probs(logits, seen, **settings)
    expected = [exact_probs(*row, **settings) for row in zip(logits.tolist(), seen.tolist(), strict=True)]
    torch.testing.assert_close(probs, torch.tensor(expected), atol=1e-6, rtol=0)
    assert torch.equal(logits, before)


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"top_k": 2, "top_p": 0.5}, [1, 0, 0, 0]),  # the two left have 4/7 and 3/7; top_p first would keep both
        ({"temperature": 0.5, "top_p": 0.5}, [1, 0, 0, 0]),  # 16/30, 9/30 …; at temperature 1 the first has 0.4 only
        ({"repetition_penalty": 2.0, "top_k": 2}, [0, 0.6, 0.4, 0]),  # the first falls to 0.4², and out
        ({"repetition_penalty": 2.0, "top_p": 0.3}, [0, 1, 0, 0]),  # 16, 30, 20 and 10 of 76
    ],
)
def test_settings_apply_in_the_documented_order(settings, expected):
    """Penalty, temperature, top_k, top_p: another order gives other numbers, shown on probabilities of 4, 3, 2, 1 tenths."""
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    probs = next_token_probs(logits, torch.tensor([[0]]), **settings)
    torch.testing.assert_close(probs, torch.tensor([expected]).float())


def test_top_k_beyond_the_vocabulary_and_top_p_of_one_change_nothing():
    """top_k larger than V, and top_p = 1, leave the softmax as it is."""
    logits = torch.randn(3, V)
    for settings in ({"top_k": V}, {"top_k": V + 1}, {"top_p": 1}, {"top_p": 1.0, "top_k": 10 * V}):
        assert torch.equal(next_token_probs(logits, **settings), logits.softmax(-1))


def test_of_tied_logits_exactly_k_remain():
    """Ties in top_k: k tokens remain, not all that are equal; all of them above those left out."""
    logits = torch.tensor([[0.0, 2.0, 1.0, 1.0, 1.0, 0.0]])
    probs = next_token_probs(logits, top_k=3)
    e = math.e
    assert sorted(probs[0].tolist()) == pytest.approx(sorted([0, 0, 0, e / (e + 2), 1 / (e + 2), 1 / (e + 2)]))
    assert probs[0, [0, 5]].tolist() == [0, 0]
    assert sorted(next_token_probs(torch.zeros(1, V), top_k=4)[0].tolist()) == [0] * (V - 4) + [0.25] * 4


def test_top_p_keeps_at_least_one_token():
    """Even when the most likely token alone exceeds p, it remains, with probability one."""
    logits = torch.randn(5, V)
    assert torch.equal(next_token_probs(logits, top_p=1e-9), torch.nn.functional.one_hot(logits.argmax(-1), V).float())
    assert next_token_probs(torch.zeros(1, 4), top_p=0.2).sort().values.tolist() == [[0, 0, 0, 1]]


@pytest.mark.parametrize("settings", [{}, {"top_k": 4}, {"top_p": 0.99}, {"repetition_penalty": 2.0, "temperature": 0.5}])
def test_a_logit_of_minus_infinity_is_never_drawn(settings):
    """Tokens forbidden by a logit of -inf have probability zero, and the others still sum to one."""
    logits = torch.full((1, V), -math.inf)
    logits[0, [3, 7]] = torch.tensor([1.0, -1.0])
    probs = next_token_probs(logits, torch.tensor([[0, 3]]), **settings)
    assert set(probs.nonzero()[:, 1].tolist()) == {3, 7} and probs.sum().item() == pytest.approx(1)


def test_repetition_penalty_lowers_seen_tokens_once_each():
    """Positive and negative logits of seen tokens become less likely, by one factor however often they were seen."""
    logits = torch.tensor([[2.0, -2.0, 1.0, -1.0]])
    probs = next_token_probs(logits, torch.tensor([[0, 1, 0, 0]]), repetition_penalty=2.0)
    torch.testing.assert_close(probs, torch.tensor([[1.0, -4.0, 1.0, -1.0]]).softmax(-1))
    assert torch.equal(next_token_probs(logits, None, repetition_penalty=2.0), logits.softmax(-1))


@pytest.mark.parametrize(
    "settings", [{"temperature": 0.5}, {"temperature": 0.8, "top_k": 15, "top_p": 0.9, "repetition_penalty": 1.5}]
)
def test_frequencies_of_drawn_tokens_match_the_exact_distribution(small_model, settings):
    """Of 6,000 equal rows, each token is drawn as often as its exact probability says (chi-square test), and no other."""
    n, row = 6_000, prompts(1, 13)  # three of its tokens are likely to follow: the penalty matters
    with torch.no_grad():
        logits = small_model(row)[0, -1]
    token = next(stream_tokens(small_model, row.expand(n, -1), 1, seed=0, use_cache=False, **settings))
    probs = torch.tensor(exact_probs(logits.tolist(), row[0].tolist(), **settings), dtype=torch.float64)
    counts = token[:, 0].bincount(minlength=len(probs)).double()
    assert counts[probs == 0].sum() == 0
    often = probs * n >= 5  # rarer tokens are counted together, as is usual in this test
    found = torch.cat((counts[often], counts[~often].sum(0, keepdim=True)))
    expected = n * torch.cat((probs[often], probs[~often].sum(0, keepdim=True)))
    chi2 = ((found - expected) ** 2 / expected.clamp(min=1e-9)).sum()
    degrees = torch.count_nonzero(expected) - 1
    p_value = torch.special.gammaincc(degrees / 2, chi2.float() / 2).item()
    assert degrees > 5 and 0.01 < p_value < 1


@pytest.mark.parametrize("name, value", BAD_SETTINGS)
def test_bad_setting_is_refused_by_name(small_model, name, value):
    """A senseless setting raises ValueError with its name and value, from the probabilities and before generation begins."""
    with pytest.raises(ValueError, match=rf"{name} .*{value}"):
        next_token_probs(torch.zeros(1, V), **{name: value})
    with pytest.raises(ValueError, match=rf"{name} .*{value}"):
        generate(small_model, prompts(1, 2), 0, **{name: value})
