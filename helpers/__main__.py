"""The command line: `python -m helpers train / generate / evaluate / export / data / doctor / …` (see --help of each)."""

import argparse
import ast
import json
import sys
from dataclasses import fields, replace
from pathlib import Path

from helpers.checkpoint import PRETRAINED, CheckpointError, export_pretrained, load_model, load_pretrained
from helpers.data import DATA, PROMPT, is_validation, load_corpus, read_articles, read_text, shipped_tokenizer, source_files
from helpers.device import pick_device
from helpers.gpt import GPTConfig
from helpers.presets import PRESETS
from helpers.recipe import TrainConfig
from helpers.site import add_command as site_command
from helpers.slides import add_commands as slide_commands
from helpers.wikipedia import cleaning_report

RUNS = DATA.parent / "runs"


def train(args):
    """Train a preset, and print its loss beside the landmarks."""
    from helpers.landmarks import table
    from helpers.training import evaluate, train

    preset, device = PRESETS[args.preset], pick_device(args.device)
    changes = {name: getattr(args, name) for name in ("train_iters", "batch_size", "lr", "seed", "patience")}
    changes = {name: value for name, value in changes.items() if value is not None}
    if args.train_iters:  # a short trial has no room for the whole warm-up
        changes["warmup_iters"] = min(preset.training.warmup_iters, args.train_iters // 10)
    settings = dict(map(_setting, args.set))
    of_model = {name: settings.pop(name) for name in set(settings) & {field.name for field in fields(GPTConfig)}}
    model_config, config = replace(preset.model, **of_model), replace(preset.training, **changes | settings)
    print(device.reason)
    corpus = load_corpus(args.data or preset.data, model_config.vocab_size, args.tokenizer)
    parts = corpus.manifest["parts"]
    print(f"{corpus.name}: {parts['train']['tokens']:,} tokens to train on, {parts['validation']['tokens']:,} held out")
    out = Path(args.out) if args.out else _run_folder(args.preset, args.resume)
    run = train(model_config, config, corpus, out, resume=args.resume, device=device, wandb=args.wandb)
    if run.process.rank == 0 and run.finished():
        print(table(corpus, evaluate(run.model, corpus.validation, device, config.batch_size)))
        print(f"Saved in {run.out}. Try it: python course.py run generate --checkpoint {run.out / 'best.pt'}")


def _setting(text):
    """Return a setting: "dropout=0.1" → ("dropout", 0.1), for any field of GPTConfig or TrainConfig."""
    name, _, value = text.partition("=")
    known = [field.name for config in (GPTConfig, TrainConfig) for field in fields(config)]
    if name not in known:
        raise ValueError(f"--set {text}: there is no setting {name!r}; there are {', '.join(known)}.")
    try:
        return name, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        raise ValueError(f"--set {text}: write a number after the equals sign, such as dropout=0.1.") from None


def _run_folder(preset, resume):
    """The newest run of a preset when resuming, otherwise a new folder: runs/tiny, runs/tiny-2, …"""
    names = [RUNS / preset, *(RUNS / f"{preset}-{i}" for i in range(2, 1000))]
    taken = [folder for folder in names if (folder / "latest.pt").exists()]
    if resume and not taken:
        raise CheckpointError(f"There is no run of {preset!r} in {RUNS} to go on with: start one without --resume.")
    return max(taken, key=lambda f: (f / "latest.pt").stat().st_mtime) if resume else next(f for f in names if f not in taken)


def generate(args):
    """Continue a prompt, or without one ask for prompts."""
    from helpers.generation import interactive, prompt_notes, stream_text

    device = pick_device(args.device).type
    model, tokenizer = load_model(args.checkpoint, device) if args.checkpoint else load_pretrained(device)
    names = ("temperature", "top_k", "top_p", "repetition_penalty", "greedy", "seed", "max_tokens")
    options = {name: getattr(args, name) for name in names}
    if args.prompt is None:
        return interactive(model, tokenizer, **options)
    for note in prompt_notes(model, tokenizer, args.prompt):
        print(note, file=sys.stderr)
    pieces = stream_text(model, tokenizer, args.prompt, **options)
    first = next(pieces, "")  # a bad setting speaks up before anything is shown
    print(args.prompt + first, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


def evaluate(args):
    """Measure a model on the held-out part of a corpus, or on a whole text; look for copies in its samples."""
    from helpers.evaluation import longest_copies, text_loss
    from helpers.generation import stream_text

    device = pick_device(args.device)
    model, tokenizer = load_model(args.checkpoint, device.type) if args.checkpoint else load_pretrained(device.type)
    files = source_files(args.data)
    if args.whole:
        texts = [read_text(file) for file in files]
    else:
        texts = [article for article in read_articles(files) if is_validation(article)]
    result = text_loss(model, tokenizer, texts, device)
    print(
        ", ".join(f"{name} {value:,.4f}" if isinstance(value, float) else f"{name} {value:,}" for name, value in result.items())
    )
    options = {"temperature": args.temperature, "top_k": args.top_k}
    samples = ["".join(stream_text(model, tokenizer, PROMPT, 100, seed=seed, **options)) for seed in range(args.samples)]
    copies = longest_copies(samples, (a for a in read_articles(files) if not is_validation(a))) if samples else []
    for seed, (sample, copy) in enumerate(zip(samples, copies, strict=True)):
        print(f"\n[seed {seed}] {PROMPT}{sample}\n  longest copy: {len(copy.split())} words: {copy}")


def export(args):
    """Write the model of a checkpoint in the form in which one ships with the course."""
    export_pretrained(args.checkpoint, args.out)
    print(f"Exported to {args.out}.")


def data(args):
    """Prepare a corpus (fetch, clean, encode), or train the tokenizer that ships with it."""
    if args.train_tokenizer:
        from helpers.tokenizer import train_tokenizer

        articles = (a for a in read_articles(source_files(args.data)) if not is_validation(a))
        path = Path(args.out) if args.out else shipped_tokenizer(args.data, args.vocab_size)
        path.write_bytes(train_tokenizer(articles, args.vocab_size).model_bytes)
        print(f"Trained a tokenizer of {args.vocab_size} tokens: {path}")
        return
    from helpers.landmarks import table

    for file in source_files(args.data):
        if file.suffix == ".parquet":
            print(f"{file.name} cleaned: {json.dumps(cleaning_report(file), indent=1)}")
    corpus = load_corpus(args.data, args.vocab_size, args.tokenizer)
    print(json.dumps(corpus.manifest, indent=1, ensure_ascii=False))
    print(table(corpus))


def doctor(args):
    """Report on this machine."""
    from helpers.doctor import doctor

    sys.exit(1 if doctor() else 0)


def grade(args):
    """Check a folder of students' notebooks."""
    from helpers.grading import grade

    grade(args.folder, args.out, args.seconds)


def bench(args):
    """Measure speed against other implementations."""
    from helpers.bench import TASKS, bench

    bench(args.task or TASKS)


def parser():
    """Return the argument parser of all commands."""
    top = argparse.ArgumentParser("python course.py run", description="Train a small GPT, and talk to it.")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(function, help):
        sub = commands.add_parser(function.__name__, help=help, description=help)
        sub.set_defaults(function=function)
        return sub

    c = command(train, "train a model and save it in a folder, from where it can go on")
    c.add_argument("--preset", choices=PRESETS, default="tiny", help="size of model and training (tiny)")
    c.add_argument("--data", help='"encyclopedia", "wikipedia", or a text or parquet file or folder (the preset\'s)')
    c.add_argument("--tokenizer", help="a .model file to use instead of the shipped or a newly trained one")
    c.add_argument("--out", help="folder of the run (runs/PRESET)")
    c.add_argument("--resume", action="store_true", help="go on from the last checkpoint of the run")
    c.add_argument("--wandb", choices=("offline", "online", "disabled"), default="offline", help="log to W&B (offline)")
    c.add_argument("--device", default="auto", help="cpu, cuda or mps (the best there is)")
    c.add_argument("--train-iters", type=int, help="optimiser steps (the preset's)")
    c.add_argument("--batch-size", type=int, help="sequences in a step (the preset's)")
    c.add_argument("--lr", type=float, help="peak learning rate (the preset's)")
    c.add_argument("--patience", type=int, help="stop after so many evaluations without a better loss")
    c.add_argument("--seed", type=int, help="seed of weights, order and dropout (0)")
    c.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="any setting of GPTConfig or TrainConfig")

    c = command(generate, "continue a prompt; without --prompt, ask for prompts until an empty line")
    c.add_argument("--checkpoint", help="a checkpoint file, such as runs/tiny/best.pt (the model that ships)")
    c.add_argument("--prompt", help=f'the beginning of a text, such as "{PROMPT}"')
    c.add_argument("--temperature", type=float, default=0.8, help="below 1 safer, above 1 wilder (0.8)")
    c.add_argument("--top-k", type=int, default=50, help="draw from the k likeliest tokens only (50)")
    c.add_argument("--top-p", type=float, help="draw from the likeliest tokens that together reach p (all)")
    c.add_argument("--repetition-penalty", type=float, default=1.0, help="above 1: shy away from tokens seen (1)")
    c.add_argument("--greedy", action="store_true", help="always take the likeliest token")
    c.add_argument("--max-tokens", type=int, default=200, help="length of the continuation at most (200)")
    c.add_argument("--seed", type=int, help="the same seed gives the same text")
    c.add_argument("--device", default="auto", help="cpu, cuda or mps (the best there is)")

    c = command(evaluate, "measure a model on the held-out part of a corpus: loss, perplexity, bits per byte")
    c.add_argument("data", help='"encyclopedia", "wikipedia", or a text or parquet file or folder')
    c.add_argument("--checkpoint", help="a checkpoint file (the model that ships)")
    c.add_argument("--whole", action="store_true", help="the file is one text, all of which is new to the model")
    c.add_argument("--samples", type=int, default=0, help="also show samples, each with what it copies from the training part")
    c.add_argument("--temperature", type=float, default=0.8, help="of the samples (0.8)")
    c.add_argument("--top-k", type=int, default=50, help="of the samples (50)")
    c.add_argument("--device", default="auto", help="cpu, cuda or mps (the best there is)")

    c = command(export, "write a checkpoint's model as a small folder: weights in bfloat16, configuration, tokenizer")
    c.add_argument("--checkpoint", required=True, help="the checkpoint file")
    c.add_argument("--out", default=PRETRAINED, help="the folder to write (data/pretrained)")

    c = command(data, "prepare a corpus: fetch, clean, encode, and show what it is")
    c.add_argument("data", help='"encyclopedia", "wikipedia", or a text or parquet file or folder')
    c.add_argument("--vocab-size", type=int, default=None, help="size of the vocabulary (2048; wikipedia: 8192)")
    c.add_argument("--tokenizer", help="a .model file to use instead of the shipped or a newly trained one")
    c.add_argument("--train-tokenizer", action="store_true", help="only train the tokenizer and write it")
    c.add_argument("--out", help="where to write the tokenizer (data/tokenizers/NAME-SIZE.model)")

    command(doctor, "check packages, device, memory and disk; name each problem with its remedy")

    c = command(grade, "run the checks over a folder of students' notebooks and write a table (CSV)")
    c.add_argument("folder", help="holds a folder for each student, or notebooks named after them")
    c.add_argument(
        "--out", default="grades.csv", help="the table: student, notebook, exercise, state, mistake, answer (grades.csv)"
    )
    c.add_argument("--seconds", type=int, default=900, help="the most that one notebook may take; a cell, a third of it (900)")

    c = command(bench, "measure speed against Hugging Face and SentencePiece, as ratios")
    c.add_argument("task", nargs="*", help='for example "train tiny" (all)')

    slide_commands(command)
    site_command(command)
    return top


def main(argv=None):
    """Run a command; what goes wrong ends in a sentence."""
    args = parser().parse_args(argv)
    if args.function is data and args.vocab_size is None:
        args.vocab_size = 8192 if args.data == "wikipedia" else 2048
    try:
        args.function(args)
    except (CheckpointError, FloatingPointError, OSError, ValueError) as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
