"""Measures speed against Hugging Face's GPT-2 and SentencePiece, as ratios within one run (`python -m helpers bench`).

Every contender lives in a process of its own, as it does in use, so that what one does to memory neither helps nor
hurts another. They take turns, so that a busy moment of the machine hits all alike; the medians are compared.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version

import torch

from helpers.checkpoint import load_pretrained
from helpers.device import pick_device
from helpers.generation import generate, stream_tokens
from helpers.gpt import GPT
from helpers.presets import PRESETS
from helpers.recipe import make_optimizer

# Each task: what it measures, the contenders (the first is ours), and how often they take turns.
TASKS = {
    "train full": ("training step, full shape", ("ours", "hf float32", "hf bfloat16"), 5),
    "train tiny": ("training step, tiny shape", ("ours", "hf float32", "hf bfloat16"), 15),
    "generate full": ("256 tokens after 16, batch 1, cache, the shipped model", ("ours", "hf float32"), 5),
    "generate tiny": ("256 tokens after 16, batch 1, cache, tiny width", ("ours", "hf float32"), 5),
    "load": ("loading the shipped model", ("ours", "hf float32"), 5),
    "encode": ("encoding text, vocabulary 2,048", ("ours", "sentencepiece"), 9),
}


def hugging_face_gpt2(config):
    """Return `GPT2LMHeadModel` of the same shape; heads as many as divide the width, at most ours."""
    from transformers import GPT2Config, GPT2LMHeadModel

    heads = max(h for h in range(1, config.n_heads + 1) if config.embed_size % h == 0)
    shape = {"n_positions": config.context, "n_embd": config.embed_size, "n_layer": config.n_layers, "n_head": heads}
    ids = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), config.dropout)
    return GPT2LMHeadModel(GPT2Config(
        vocab_size=config.vocab_size, n_inner=6 * config.embed_size, activation_function="relu", **shape, **ids, **dropout,
    ))  # fmt: skip


def training_step(preset, contender):
    """Return a function that does a whole training step, and the number of its tokens. Dropout is off in all contenders."""
    config, batch = replace(preset.model, dropout=0.0), preset.training.batch_size
    idx = torch.randint(config.vocab_size, (batch, config.context + 1))
    inputs, targets = idx[:, :-1], idx[:, 1:]
    if contender == "ours":
        device, model = pick_device("cpu"), GPT(config)
        optimizer, autocast = make_optimizer(model, preset.training, fused=True), device.autocast
    else:
        model = hugging_face_gpt2(config).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)

        def autocast():
            return torch.autocast("cpu", torch.bfloat16, enabled=contender == "hf bfloat16")

    def step():
        with autocast():
            loss = model(inputs, targets) if contender == "ours" else model(inputs, labels=inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step, batch * config.context


def generation(preset, contender):
    """Return a function that continues 16 tokens greedily by 256, and that number."""
    config = replace(preset.model, context=512)
    idx = torch.randint(config.vocab_size, (1, 16))
    if contender == "ours":
        pick_device("cpu")
        model = load_pretrained()[0] if preset is PRESETS["full"] else GPT(config)
        return lambda: generate(model, idx, 256, greedy=True), 256
    model = hugging_face_gpt2(config).eval()
    options = {"max_new_tokens": 256, "min_new_tokens": 256, "do_sample": False, "pad_token_id": 0}
    return lambda: model.generate(idx, attention_mask=torch.ones_like(idx), **options), 256


def loading(contender):
    """Return a function that loads the shipped model, or a GPT-2 of its shape from the same kind of file, and 1."""
    if contender == "ours":
        return load_pretrained, 1
    model, folder = hugging_face_gpt2(PRESETS["full"].model).bfloat16(), tempfile.TemporaryDirectory()
    model.save_pretrained(folder.name)
    return lambda: type(model).from_pretrained(folder.name, dtype=torch.float32), 1


def encoding(contender):
    """Return a function that encodes the shipped corpus, and its number of bytes."""
    from helpers.data import read_articles, shipped_tokenizer, source_files
    from helpers.tokenizer import Tokenizer

    texts = list(read_articles(source_files("encyclopedia")))
    tokenizer = Tokenizer.load(shipped_tokenizer("encyclopedia", 2048))
    encode = tokenizer.encode_batch if contender == "ours" else tokenizer.sp.encode
    return lambda: encode(texts), sum(len(t.encode()) for t in texts)


def work(task, contender):
    """Be one contender: at each line on standard input do the work once and print the seconds it took."""
    kind, *shape = task.split()
    torch.manual_seed(0)
    if not shape:
        step, units = {"encode": encoding, "load": loading}[kind](contender)
    else:
        step, units = (training_step if kind == "train" else generation)(PRESETS[shape[0]], contender)
    step()  # the first time is slower: caches, thread pools
    print(units, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        print(time.perf_counter() - start, flush=True)


def measure(task, contenders, rounds):
    """Return the median units per second of each contender, taking turns."""
    workers = {}
    for contender in contenders:
        command = [sys.executable, "-m", "helpers.bench", task, contender]
        env = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
        if contender == "ours":
            env["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"  # as `course.py` sets it: memory in large pages (Linux)
        workers[contender] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    units = {c: int(w.stdout.readline()) for c, w in workers.items()}
    seconds = {c: [] for c in contenders}
    for _ in range(rounds):
        for contender, worker in workers.items():
            print(file=worker.stdin, flush=True)
            seconds[contender].append(float(worker.stdout.readline()))
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()
    return {c: units[c] / statistics.median(times) for c, times in seconds.items()}


def flatness(rounds=3):
    """Return by what factor a token late in the context costs more than an early one, with the cache, at the full shape."""
    pick_device("cpu")
    model = GPT(PRESETS["full"].model).eval()
    early, late = [], []
    for _ in range(rounds):
        times, start = [], time.perf_counter()
        for _ in stream_tokens(model, torch.zeros(1, 1, dtype=torch.long), model.config.context - 1, greedy=True):
            times.append(time.perf_counter() - start)
            start = time.perf_counter()
        early.append(statistics.median(times[16:80]))
        late.append(statistics.median(times[-64:]))
    return statistics.median(late) / statistics.median(early)


def bench(tasks=TASKS):
    """Run the tasks and print the table."""
    print(pick_device("cpu").reason)
    print(f"torch {version('torch')}, transformers {version('transformers')}, sentencepiece {version('sentencepiece')}")
    print(f"{'task':<50} {'contender':<14} {'per second':>12} {'ours is':>9}")
    for task in tasks:
        what, contenders, rounds = TASKS[task]
        speeds = measure(task, contenders, rounds)
        for contender, speed in speeds.items():
            ratio = "" if contender == "ours" else f"{speeds['ours'] / speed:.2f} ×"
            shown = {"encode": f"{speed / 1e6:.1f} MB", "load": f"{speed:.2f} loads"}.get(task, f"{speed:,.0f} tokens")
            print(f"{what:<50} {contender:<14} {shown:>14} {ratio:>9}", flush=True)
    print(f"a token at the end of the context costs {flatness():.2f} × one near its beginning (cache, full shape)")


if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2])
