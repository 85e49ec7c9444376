"""The check of notebook 04 on operations and bytes: bill."""

from helpers.checks.compare import described
from helpers.checks.gpt_sizes import NoTensors, configurations, sizes
from helpers.checks.marker import Exercise


def steps():
    """Return cases of a configuration and a batch size."""
    batches = (16, 16, 8, 1, 3, 2, 5, 1, 1, 2, 32)
    made = [(label, (config, B)) for (label, config), B in zip(configurations(), batches, strict=True)]
    return [*made, ("three heads in a width of 10, a larger batch", (made[3][1][0], 7))]


def itemised(function, config, batch_size):
    """Return what the function returns, each number with its name; no tensor may be made."""
    with NoTensors():
        returned = function(config, batch_size)
    pair = isinstance(returned, tuple) and len(returned) == 2
    flops, n_bytes = returned if pair else (None, None)
    return {"what it returns": "a tuple of two" if pair else described(returned), "FLOPs": flops, "bytes": n_bytes}


def shapes(config):
    """Return the shapes of all parameters."""
    V, T, C, L, inner = sizes(config)
    block = [(C, 3 * inner), (3 * inner, 1), (inner, C), (C, 1), (C, 6 * C), (6 * C, 1), (6 * C, C), (C, 1), *4 * [(C, 1)]]
    return [(V, C), (T, C), *L * block, (C, 1), (C, 1)]


def n_parameters(config):
    """Return the number of parameters."""
    return sum(rows * columns for rows, columns in shapes(config))


def bill(config, batch_size):
    """The reference: all products of an (m, k) with a (k, n) matrix, 2·m·k·n each, three times; 16 bytes per parameter."""
    V, T, C, L, inner = sizes(config)
    m = batch_size * T
    D, heads = config.head_size, batch_size * config.n_heads
    in_block = [(m, C, 3 * inner), (m, inner, C), (m, C, 6 * C), (m, 6 * C, C), *heads * [(T, D, T), (T, T, D)]]
    forward = 2 * m * C * V + L * sum(2 * m * k * n for m, k, n in in_block)
    return 3 * forward, (4 + 4 + 2 * 4) * n_parameters(config)


bill = Exercise(bill, steps, run=itemised)


def per_token(config, table=4, inner=None, head=1):
    """Return the FLOPs of a forward pass for each token; table: how many for each number of the T × T part."""
    V, T, C, L, own = sizes(config)
    inner = own if inner is None else inner
    return head * 2 * C * V + L * (2 * 4 * C * inner + 2 * 12 * C * C + table * T * inner)


def tokens(config, batch_size):
    """Return the number of tokens of a step."""
    return batch_size * config.context


@bill.mistake(
    "forward only",
    "Your FLOPs are those of a forward pass. On the way back each product y = xW becomes two: for which gradients?",
)
def _(config, batch_size):
    return per_token(config) * tokens(config, batch_size), 16 * n_parameters(config)


@bill.mistake(
    "twice a forward pass",
    "A step goes forward once, and back. Going back, every product y = xW becomes how many, and for which gradients?",
)
def _(config, batch_size):
    return 2 * per_token(config) * tokens(config, batch_size), 16 * n_parameters(config)


@bill.mistake(
    "the rule of six",
    "6 · N is a rule of thumb: it counts positions, biases and norms, and forgets the products that have no weights.",
)
def _(config, batch_size):
    return 6 * n_parameters(config) * tokens(config, batch_size), 16 * n_parameters(config)


@bill.mistake(
    "no T × T part",
    "Every matrix of weights is right. Attention also multiplies two matrices that aren't weights, twice: which?",
)
def _(config, batch_size):
    return 3 * per_token(config, table=0) * tokens(config, batch_size), 16 * n_parameters(config)


@bill.mistake(
    "the scores counted, the mix of the values not",
    "The T × T part is half of what it should be: what is done with the weights, once there is a softmax of the scores?",
)
def _(config, batch_size):
    return 3 * per_token(config, table=2) * tokens(config, batch_size), 16 * n_parameters(config)


@bill.mistake(
    "the masked half left out",
    "Section 4.12 counts the whole T × T table: written out, the future is computed too, and then hidden.",
)
def _(config, batch_size):
    T = config.context
    table = 3 * 4 * config.n_layers * config.n_heads * config.head_size * batch_size * (T * (T + 1) // 2)
    return 3 * per_token(config, table=0) * batch_size * T + table, 16 * n_parameters(config)


@bill.mistake(
    "the inner width taken for C",
    "Right where the heads divide the width. Attention works on H · D numbers: what is that for three heads in a width of 10?",
)
def _(config, batch_size):
    flops = per_token(config, inner=config.embed_size)
    return 3 * flops * tokens(config, batch_size), 16 * n_parameters(config)


@bill.mistake(
    "the table of one head only",
    "Right for one head. Each of the H heads has a T × T table of its own, and D numbers in q and k.",
)
def _(config, batch_size):
    one = 4 * config.n_layers * config.context * config.head_size
    return 3 * (per_token(config, table=0) + one) * tokens(config, batch_size), 16 * n_parameters(config)


@bill.mistake(
    "no head", "The tied matrix is counted once among the parameters. But how often does a token meet it in a product?"
)
def _(config, batch_size):
    return 3 * per_token(config, head=0) * tokens(config, batch_size), 16 * n_parameters(config)


@bill.mistake(
    "the lookup counted as a product",
    "Once too often V · C: nobody multiplies by the zeros of a one-hot vector. What costs the head?",
)
def _(config, batch_size):
    return 3 * per_token(config, head=2) * tokens(config, batch_size), 16 * n_parameters(config)


@bill.mistake(
    "multiplications without additions",
    "Your FLOPs are half of what they should be. A product of matrices multiplies, and then?",
)
def _(config, batch_size):
    return 3 * per_token(config) * tokens(config, batch_size) // 2, 16 * n_parameters(config)


@bill.mistake("FLOPs of one token", "The FLOPs are those of one token. How many tokens are in a step?")
def _(config, batch_size):
    return 3 * per_token(config), 16 * n_parameters(config)


@bill.mistake("FLOPs of one text", "Right for a batch of one. How many texts are in a step?")
def _(config, batch_size):
    return 3 * per_token(config) * config.context, 16 * n_parameters(config)


@bill.mistake(
    "three numbers for each parameter", "The FLOPs are right. Weight, gradient, and AdamW's running means: how many are these?"
)
def _(config, batch_size):
    return 3 * per_token(config) * tokens(config, batch_size), 12 * n_parameters(config)


@bill.mistake(
    "four for each parameter",
    "The FLOPs are right. Four bytes for each parameter would be the weights alone; four numbers for each are more bytes.",
)
def _(config, batch_size):
    return 3 * per_token(config) * tokens(config, batch_size), 4 * n_parameters(config)


@bill.mistake(
    "bytes times the batch", "The FLOPs are right. Does a larger batch need more weights, gradients or running means?"
)
def _(config, batch_size):
    return 3 * per_token(config) * tokens(config, batch_size), 16 * n_parameters(config) * batch_size


@bill.mistake(
    "bytes with the tied matrix twice", "The FLOPs are right. The head multiplies, but it has no weights of its own to store."
)
def _(config, batch_size):
    untied = n_parameters(config) + config.vocab_size * config.embed_size
    return 3 * per_token(config) * tokens(config, batch_size), 16 * untied


@bill.mistake("bytes first", "Both numbers are right, in the other order: FLOPs first, then bytes.")
def _(config, batch_size):
    return 16 * n_parameters(config), 3 * per_token(config) * tokens(config, batch_size)


@bill.mistake(
    "a model run and watched", "The counter is there to check yourself. The bill follows from the numbers in the configuration."
)
def _(config, batch_size):
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from helpers.gpt import GPT

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        GPT(config)(torch.zeros(batch_size, config.context, dtype=torch.long))
    return 3 * counter.get_total_flops(), 16 * n_parameters(config)
