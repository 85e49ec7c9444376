"""Checkpoints: written whole or not at all, checked before they are believed (notebook 05, "Checkpoints")."""

import hashlib
import io
import json
import os
from dataclasses import asdict
from pathlib import Path

import safetensors.torch
import torch

from helpers.gpt import GPT, GPTConfig, check_vocabulary
from helpers.tokenizer import Tokenizer

FORMAT = "language-model-course-1"
PRETRAINED = Path(__file__).resolve().parent.parent / "data" / "pretrained"  # the trained model that ships
DIGEST = 32  # bytes of a SHA-256, which stand at the end of the file


class CheckpointError(Exception):
    """A checkpoint that cannot be written, or cannot be trusted; the message names the file and the fault."""


def save_checkpoint(path, state):
    """Write `state` (tensors, numbers, strings, dicts and lists of them) to `path`, atomically.

    The bytes go to a file beside it, which takes the place of `path` only when it is complete: a full disk or a killed
    process leaves the previous checkpoint whole. The SHA-256 of all bytes is appended. Raises CheckpointError.
    """
    path, buffer = Path(path), io.BytesIO()
    torch.save({**state, "format": FORMAT}, buffer)
    content = buffer.getbuffer()
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as f:
            f.write(content)
            f.write(hashlib.sha256(content).digest())
            f.flush()
            os.fsync(f.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise CheckpointError(
            f"{path} could not be written ({error.strerror}). "
            + ("The checkpoint written before it is whole: " if path.exists() else "")
            + "make room or choose another folder with --out, then go on with --resume."
        ) from error


def load_checkpoint(path, device="cpu"):
    """Return the state that `save_checkpoint` wrote, tensors on `device`.

    Nothing in the file is executed: a wrong digest is refused first, then only tensors and plain values are read
    (`weights_only=True`). Raises CheckpointError.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    content, digest = memoryview(data)[:-DIGEST], data[-DIGEST:]
    if not data.startswith(b"PK"):
        raise CheckpointError(f"{path} is not a checkpoint of this course (it does not begin as one).")
    if hashlib.sha256(content).digest() != digest:
        raise CheckpointError(
            f"{path} is damaged, incomplete, or not a checkpoint of this course (its SHA-256 does not match): "
            "use another checkpoint, or fetch the file again."
        )
    try:
        state = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except Exception as error:  # whatever a hostile file provokes in the unpickler, nothing of it has been run
        raise CheckpointError(f"{path} holds something other than tensors and plain values; nothing was run.") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of this course (its format is not {FORMAT}).")
    return state


def model_from_state(state, path, device="cpu"):
    """Return the `GPT` and its `Tokenizer` from a checkpoint's state; CheckpointError if they do not fit together."""
    try:
        with torch.device("meta"):  # shapes only: no time is spent on random weights that would be replaced at once
            model = GPT(GPTConfig(**state["model_config"]))
        model.load_state_dict({name: w.float() for name, w in state["model"].items()}, assign=True)
        model.head.weight = model.token_embedding.weight
        tokenizer = Tokenizer(state["tokenizer"].numpy(force=True).tobytes())
        check_vocabulary(model, tokenizer)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: its parts do not fit together ({error}).") from error
    return model.to(device), tokenizer


def load_model(path, device="cpu"):
    """Return the trained `GPT`, in evaluation mode, and its `Tokenizer`, from a checkpoint file."""
    model, tokenizer = model_from_state(load_checkpoint(path, device), path, device)
    return model.eval(), tokenizer


def load_pretrained(device="cpu", folder=PRETRAINED):
    """Return the trained `GPT` that ships with the course, in evaluation mode and float32, and its `Tokenizer`.

    The folder holds config.json, tokenizer.model, and the weights in bfloat16 (model.safetensors: a format that can
    hold nothing but tensors). Raises CheckpointError when a file is missing, damaged, or of another model.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        files = {name: (folder / name).read_bytes() for name in ("model.safetensors", "tokenizer.model")}
        for name, content in files.items():
            if hashlib.sha256(content).hexdigest() != config["sha256"][name]:
                raise CheckpointError(f"{folder / name} is damaged or incomplete: its SHA-256 is not that in config.json.")
        weights = safetensors.torch.load(files["model.safetensors"])
        state = {"model_config": config["model_config"], "model": weights | {"head.weight": weights["token_embedding.weight"]}}
        state["tokenizer"] = torch.frombuffer(bytearray(files["tokenizer.model"]), dtype=torch.uint8)
    except OSError as error:
        raise CheckpointError(
            f"{error.filename} cannot be read ({error.strerror}): fetch the folder {folder} again."
        ) from error
    except (KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{folder} does not hold a model of this course ({error}).") from error
    model, tokenizer = model_from_state(state, folder, device)
    return model.eval(), tokenizer


def export_pretrained(checkpoint, folder=PRETRAINED):
    """Write the model of a checkpoint file into `folder`, as `load_pretrained` reads it."""
    folder, state = Path(folder), load_checkpoint(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: w.bfloat16().contiguous() for name, w in state["model"].items() if name != "head.weight"}  # it is tied
    (folder / "model.safetensors").write_bytes(safetensors.torch.save(weights))
    (folder / "tokenizer.model").write_bytes(state["tokenizer"].numpy().tobytes())
    config = {name: state[name] for name in ("model_config", "train_config", "step")}
    files = ("model.safetensors", "tokenizer.model")
    config["sha256"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def pack_tokenizer(tokenizer):
    """Return a tokenizer as a tensor of bytes, so that a checkpoint is complete in one file."""
    return torch.frombuffer(bytearray(tokenizer.model_bytes), dtype=torch.uint8)


def differences(config, saved):
    """Return in words in which fields a configuration differs from a saved one."""
    now = asdict(config)
    return ", ".join(f"{k} = {saved.get(k)!r} instead of {v!r}" for k, v in now.items() if saved.get(k) != v)
