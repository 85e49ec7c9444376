"""The check of notebook 06 on the loss of a topic: topic_bits; and what the checks of that notebook share."""

import math
import statistics

import torch

from helpers.checks.compare import described
from helpers.checks.marker import Exercise
from helpers.device import Device
from helpers.evaluation import text_loss
from helpers.gpt import GPT, GPTConfig

CPU = Device("cpu", torch.float32, 1, "small enough")
SIZES = {"context": 16, "embed_size": 12, "n_layers": 1, "n_heads": 2, "dropout": 0.0}


def small_model(seed, std=0.7, **sizes):
    """Return an untrained GPT whose weights are large enough for its answers to differ from place to place."""
    model, generator = GPT(GPTConfig(**{**SIZES, **sizes})).eval(), torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        weight.detach().normal_(std=std, generator=generator)
    model.position_embedding.weight.detach().mul_(3)  # else the last token would repeat itself
    return model


class Bytes:
    """A tokenizer without merges: every byte is a token."""

    vocab_size, end_id = 257, 256

    def encode(self, text):
        """Return the bytes of a text."""
        return list(text.encode("utf-8"))

    def encode_batch(self, texts):
        """Return the bytes of each text."""
        return [self.encode(text) for text in texts]

    def __repr__(self):
        return "<tokenizer of bytes>"


def parts(made, *names):
    """Return the parts of a tuple, each by its name; of anything else, what it is."""
    fits = isinstance(made, tuple) and len(made) == len(names)
    whole = f"a tuple of {len(names)}" if fits else described(made)
    return {"returned": whole, **dict(zip(names, made if fits else len(names) * [None], strict=True))}


def topics():
    """Return cases of articles: two and more, short and long, other letters, equal ones, and too few."""
    lines = "the mountain is in the north|A city.|rain|Its river has two arms, and both are full of fish in spring.".split("|")
    lines += ["Québec lies on a river", "a a a a a a a a", "山の上に雲がある", "In 1652 the people of the city built a wall."]
    made = {
        "two articles": lines[:2],
        "four articles of very different lengths": lines[:4],
        "other letters": lines[4:7],
        "seven articles": lines[1:],
        "an article longer than the context": [" ".join(lines[:4]), *lines[4:6]],
        "two equal articles": [lines[3], lines[3]],
        "a single article": lines[:1],
        "no article": [],
    }
    model = small_model(3, std=0.5, vocab_size=257, context=64, n_heads=1, embed_size=8)
    return [(label, (model, Bytes(), articles, CPU)) for label, articles in made.items()]


def named(function, model, tokenizer, articles, device):
    """Return the two numbers, each by its name."""
    return parts(function(model, tokenizer, articles, device), "mean", "standard error")


def measured(model, tokenizer, articles, device, what="bits_per_byte"):
    """Return a measure of each article by itself."""
    return [text_loss(model, tokenizer, [article], device)[what] for article in articles]


def enough(articles):
    """Raise a ValueError for fewer than two articles."""
    if len(articles) < 2:
        raise ValueError(f"A standard error takes at least two articles, not {len(articles)}.")


def topic_bits(model, tokenizer, articles, device):
    """The reference: the mean of the articles' bits per byte, and their standard deviation over √n."""
    enough(articles)
    bits = measured(model, tokenizer, articles, device)
    return statistics.mean(bits), statistics.stdev(bits) / math.sqrt(len(bits))


topic_bits = Exercise(topic_bits, topics, run=named)


@topic_bits.mistake(
    "all articles measured as one text",
    "Your mean gives a long article more weight than a short one: how often is text_loss called, and with what?",
)
def _(model, tokenizer, articles, device):
    enough(articles)
    whole = text_loss(model, tokenizer, articles, device)["bits_per_byte"]
    return whole, statistics.stdev(measured(model, tokenizer, articles, device)) / math.sqrt(len(articles))


@topic_bits.mistake(
    "the standard deviation divided by n",
    "It shrinks too fast as articles are added: four times as many should halve it, not quarter it.",
)
def _(model, tokenizer, articles, device):
    enough(articles)
    bits = measured(model, tokenizer, articles, device)
    return statistics.mean(bits), statistics.stdev(bits) / len(bits)


@topic_bits.mistake(
    "the standard deviation itself",
    "That is how far one article lies from the mean. How far may the mean of n articles be off? It is less: by which factor?",
)
def _(model, tokenizer, articles, device):
    enough(articles)
    bits = measured(model, tokenizer, articles, device)
    return statistics.mean(bits), statistics.stdev(bits)


@topic_bits.mistake(
    "n in the denominator of the standard deviation",
    "Too small, most of all for two articles. Does the function that you use divide by n or by n - 1 (correction, ddof)?",
)
def _(model, tokenizer, articles, device):
    enough(articles)
    bits = measured(model, tokenizer, articles, device)
    return statistics.mean(bits), statistics.pstdev(bits) / math.sqrt(len(bits))


@topic_bits.mistake(
    "n - 1 in both places",
    "The standard deviation has n - 1 in its denominator; the standard error divides it by the root of what?",
)
def _(model, tokenizer, articles, device):
    enough(articles)
    bits = measured(model, tokenizer, articles, device)
    return statistics.mean(bits), statistics.stdev(bits) / math.sqrt(len(bits) - 1)


@topic_bits.mistake(
    "the variance divided by √n", "A variance is in squared bits per byte. Which root takes it back to bits per byte?"
)
def _(model, tokenizer, articles, device):
    enough(articles)
    bits = measured(model, tokenizer, articles, device)
    return statistics.mean(bits), statistics.variance(bits) / math.sqrt(len(bits))


@topic_bits.mistake(
    "the loss in nats per token",
    "That number hangs on the tokenizer. Which of the numbers that text_loss returns does the text want?",
)
def _(model, tokenizer, articles, device):
    enough(articles)
    losses = measured(model, tokenizer, articles, device, "loss")
    return statistics.mean(losses), statistics.stdev(losses) / math.sqrt(len(losses))


@topic_bits.mistake(
    "the median for the mean",
    "With two articles the two agree. Which of them is moved by a single unusual article, and which is asked for?",
)
def _(model, tokenizer, articles, device):
    enough(articles)
    bits = measured(model, tokenizer, articles, device)
    return statistics.median(bits), statistics.stdev(bits) / math.sqrt(len(bits))


@topic_bits.mistake(
    "nan for too few articles",
    "The spread of one number is not known, and nan says so too late: which error is asked for, and when must it be raised?",
)
def _(model, tokenizer, articles, device):
    bits, n = torch.tensor(measured(model, tokenizer, articles, device)), torch.tensor(len(articles))
    spread = ((bits - bits.mean()) ** 2).sum() / (n - 1)
    return bits.mean().item(), (spread / n).sqrt().item()


@topic_bits.mistake(
    "a standard error of 0 for one article", "One article tells nothing about the spread; 0 would say that it is known exactly."
)
def _(model, tokenizer, articles, device):
    bits = measured(model, tokenizer, articles, device)
    error = statistics.stdev(bits) / math.sqrt(len(bits)) if len(bits) > 1 else 0.0
    return statistics.mean(bits), error
