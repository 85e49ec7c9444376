"""From logits to text: sampling, the KV cache, streaming, interactive use (notebook 06)."""

import sys

import torch

from helpers.gpt import check_vocabulary


class LayerCache:
    """The keys and values of one layer for all tokens so far, in memory set aside once (notebook 06, "The KV cache")."""

    def __init__(self, shape, like):
        self.k, self.v = like.new_empty(shape), like.new_empty(shape)  # (B, H, context, D)
        self.length = 0

    def append(self, k, v):
        """Add k, v: (B, H, T, D) of new tokens; return those of all tokens: (B, H, S, D)."""
        start, self.length = self.length, self.length + k.size(2)
        self.k.narrow(2, start, k.size(2)).copy_(k)
        self.v.narrow(2, start, k.size(2)).copy_(v)
        return self.k.narrow(2, 0, self.length), self.v.narrow(2, 0, self.length)


class KVCache:
    """One `LayerCache` per layer; its length is the number of tokens it holds (notebook 06, "The KV cache").

    Memory: 2 · n_layers · B · H · context · D numbers.
    """

    def __init__(self, model, batch_size=1):
        c = model.config
        shape = (batch_size, c.n_heads, c.context, c.head_size)
        self.layers = [LayerCache(shape, model.position_embedding.weight) for _ in model.blocks]

    def __len__(self):
        return self.layers[0].length


def check_sampling(temperature=1.0, top_k=None, top_p=None, repetition_penalty=1.0):
    """Raise ValueError, saying what to change, if a sampling setting makes no sense."""
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be above 0, not {temperature}: for the most likely token every time, use greedy.")
    if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
        raise ValueError(f"top_k must be a whole number of at least 1, or None for all tokens, not {top_k}.")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, or None for all tokens, not {top_p}.")
    if not 0 < repetition_penalty < float("inf"):
        raise ValueError(f"repetition_penalty must be above 0 (1 for none), not {repetition_penalty}.")


def next_token_probs(logits, seen=None, *, temperature=1.0, top_k=None, top_p=None, repetition_penalty=1.0):
    """Return the probabilities (B, V) from which the next token is drawn, given logits: (B, V).

    The steps come in this order. repetition_penalty: the logits of tokens in seen: (B, T) are divided by it where
    positive, multiplied where negative (Keskar et al. 2019). temperature: logits are divided by it. top_k: only the k
    most likely tokens remain (Fan et al. 2018). top_p: of these, only the smallest set whose probability reaches p
    (Holtzman et al. 2020). Notebook 06, "Choosing a token".
    """
    check_sampling(temperature, top_k, top_p, repetition_penalty)
    logits = logits.float()
    if repetition_penalty != 1.0 and seen is not None:
        score = logits.gather(1, seen)  # (B, T)
        score = torch.where(score > 0, score / repetition_penalty, score * repetition_penalty)
        logits = logits.scatter(1, seen, score)
    logits = (logits - logits.amax(-1, keepdim=True)) / temperature  # the largest is 0: no temperature overflows
    if top_k is not None and top_k < logits.size(-1):
        kept, where = logits.topk(top_k)  # (B, k); of equal logits, only as many as fit
        logits = torch.full_like(logits, float("-inf")).scatter(1, where, kept)
    probs = logits.softmax(dim=-1)  # (B, V)
    if top_p is not None and top_p < 1:
        ordered, where = probs.sort(descending=True)
        before = ordered.cumsum(-1) - ordered  # probability of all tokens more likely than this one
        probs = probs.scatter(1, where, ordered.masked_fill(before >= top_p, 0.0))
        probs = probs / probs.sum(-1, keepdim=True)
    return probs


def stream_tokens(model, idx, max_tokens, *, greedy=False, stop=None, use_cache=True, seed=None, **sampling):
    """Yield the next token of every row, (B, 1), one after another: at most `max_tokens` of them.

    idx: (B, T), T ≥ 1; only its last `context` tokens are seen, and past the context the window slides by one token.
    greedy: take the most likely token. stop: a token id after which a row is finished (from then on it repeats it);
    when every row is finished, generation ends. use_cache=False recomputes everything at each step, with the same result.
    seed: makes the draw repeatable. sampling: see `next_token_probs`. Notebook 06, "Streaming".
    """
    if idx.dim() != 2 or idx.size(1) == 0:
        raise ValueError(f"idx must be (B, T) with at least one token to continue, not {tuple(idx.shape)}.")
    check_sampling(**sampling)
    generator = torch.Generator(idx.device)
    generator.seed() if seed is None else generator.manual_seed(seed)
    context, cache, was_training = model.config.context, None, model.training
    finished = torch.zeros(idx.size(0), 1, dtype=torch.bool, device=idx.device)
    model.eval()
    try:
        for _ in range(max_tokens):
            with torch.inference_mode():
                if cache is not None and len(cache) < context:
                    hidden = model.hidden(idx[:, -1:], cache)
                else:  # the first step; or the window slides, every position changes, and no cached key is valid any more
                    cache = KVCache(model, idx.size(0)) if use_cache and idx.size(1) < context else None
                    hidden = model.hidden(idx[:, -context:], cache)
                logits = model.head(hidden[:, -1])  # (B, V)
                probs = next_token_probs(logits, idx, **sampling)  # (B, V)
                token = probs.argmax(-1, keepdim=True) if greedy else torch.multinomial(probs, 1, generator=generator)
                if stop is not None:
                    token = token.masked_fill(finished, stop)
                    finished = finished | (token == stop)
                idx = torch.cat((idx, token), dim=1)  # (B, T + 1)
            yield token
            if finished.all():
                return
    finally:
        model.train(was_training)


def generate(model, idx, max_tokens, **options):
    """Return idx: (B, T) with up to `max_tokens` generated tokens appended. Options: see `stream_tokens`."""
    return torch.cat([idx, *stream_tokens(model, idx, max_tokens, **options)], dim=1)


def stream_text(model, tokenizer, prompt, max_tokens=200, **options):
    """Yield the continuation of `prompt` piece by piece, as text, up to the end of the article.

    A character is shown once all its bytes are there. Raises ValueError for an empty prompt, or if the tokenizer's
    vocabulary is not the model's. Options: see `stream_tokens`. Notebook 06, "Streaming".
    """
    check_vocabulary(model, tokenizer)
    if not prompt.strip():
        raise ValueError('The prompt is empty: give the model some words to continue, such as "The mountain in my city is".')
    ids = tokenizer.encode(prompt)
    idx = torch.tensor([ids], device=model.position_embedding.weight.device)
    shown = len(tokenizer.decode(ids))
    for token in stream_tokens(model, idx, max_tokens, stop=tokenizer.end_id, **options):
        ids.append(token.item())
        text = tokenizer.decode(ids)
        if not text.endswith("\ufffd"):
            yield text[shown:]
            shown = len(text)
    yield tokenizer.decode(ids)[shown:]


def prompt_notes(model, tokenizer, prompt):
    """Return sentences that tell the user what the model cannot see or has hardly seen in `prompt`."""
    ids, notes = tokenizer.encode(prompt), []
    if len(ids) > model.config.context:
        notes.append(f"The prompt has {len(ids)} tokens; the model sees only the last {model.config.context}.")
    if sum(map(tokenizer.sp.is_byte, ids)) > len(ids) / 2:
        notes.append("Most of the prompt is in characters that this model has hardly met, so expect little of its answer.")
    return notes


def interactive(model, tokenizer, max_tokens=200, **options):
    """Ask for prompts in the terminal and continue each as it is generated; an empty line ends it."""
    print("Type the beginning of a text and press Enter. An empty line ends the session.")
    while True:
        try:
            prompt = input("\nprompt> ")
            if not prompt.strip():
                return
            for note in prompt_notes(model, tokenizer, prompt):
                print(f"({note})")
            sys.stdout.write(prompt)
            for piece in stream_text(model, tokenizer, prompt, max_tokens, **options):
                print(piece, end="", flush=True)
            print()
        except (EOFError, KeyboardInterrupt):
            print()
            return
