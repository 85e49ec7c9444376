"""The configurations on which the two exercises that count are checked."""

from torch.overrides import TorchFunctionMode

from helpers.checks.watch import NotAllowed
from helpers.gpt import GPTConfig
from helpers.presets import PRESETS


class NoTensors(TorchFunctionMode):
    """While it is active, refuses every function of PyTorch that makes or uses a tensor, so every model too."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Refuse one call."""
        raise NotAllowed("a tensor is made; here everything follows from the numbers in the configuration")


def sizes(config):
    """Return V, T, C, L and the inner width H·D of a configuration."""
    inner = config.n_heads * config.head_size
    return config.vocab_size, config.context, config.embed_size, config.n_layers, inner


def configurations():
    """Return (label, configuration): the presets, heads that don't divide the width, sizes of one, the size of GPT-3."""
    return [
        ("the preset tiny", PRESETS["tiny"].model),
        ("the preset laptop", PRESETS["laptop"].model),
        ("the preset full", PRESETS["full"].model),
        ("three heads in a width of 10", GPTConfig(50, 16, 10, 2, 3)),
        ("seven heads in a width of 13", GPTConfig(30, 8, 13, 1, 7)),
        ("as many heads as width", GPTConfig(20, 5, 6, 3, 6)),
        ("a context of 1", GPTConfig(40, 1, 8, 2, 2)),
        ("a vocabulary of 1", GPTConfig(1, 12, 8, 2, 4)),
        ("everything 1", GPTConfig(1, 1, 1, 1, 1)),
        ("a long context, a narrow model", GPTConfig(100, 4096, 16, 1, 2)),
        ("the size of GPT-3", GPTConfig(50257, 2048, 12288, 96, 96)),
    ]
