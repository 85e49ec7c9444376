"""The three sizes of the course; one visible line in a notebook chooses one (notebook 00)."""

from dataclasses import dataclass

from helpers.gpt import GPTConfig
from helpers.recipe import TrainConfig


@dataclass(frozen=True)
class Preset:
    """A model, its training, and the corpus that it is meant for."""

    model: GPTConfig
    training: TrainConfig
    data: str


PRESETS = {
    # Two minutes on two CPU cores: every saved output of the course, and CI.
    "tiny": Preset(
        GPTConfig(vocab_size=2048, context=128, embed_size=128, n_layers=4, n_heads=4, dropout=0.0),
        TrainConfig(
            batch_size=16,
            train_iters=1900,
            lr=2e-3,
            warmup_iters=100,
            lr_floor=0.01,
            weight_decay=0.1,
            eval_interval=400,
            eval_batches=40,
        ),
        data="encyclopedia",
    ),
    # A real result without a GPU.
    "laptop": Preset(
        GPTConfig(vocab_size=4096, context=256, embed_size=256, n_layers=4, n_heads=4, dropout=0.1),
        TrainConfig(batch_size=16, train_iters=3000, lr=1e-3, warmup_iters=100, eval_interval=250, eval_batches=20),
        data="encyclopedia",
    ),
    # The reference: 19,833,858 parameters, 100,000 iterations, on one GPU.
    "full": Preset(
        GPTConfig(vocab_size=8192, context=512, embed_size=384, n_layers=7, n_heads=7, dropout=0.05),
        TrainConfig(batch_size=8, train_iters=100_000, lr=3e-4, weight_decay=0.01, grad_clip=1.0),
        data="wikipedia",
    ),
    # The same model, data and number of tokens with the changes that proved themselves on a smaller model (notebook 05,
    # "The ladder"), but for the smaller batch, which would double the steps. There the warm-up took a tenth of a short run;
    # how many steps a long one wants was not measured.
    "full+": Preset(
        GPTConfig(vocab_size=8192, context=512, embed_size=384, n_layers=7, n_heads=7, dropout=0.0),
        TrainConfig(batch_size=8, train_iters=100_000, lr=1e-3, warmup_iters=1000, weight_decay=0.01),
        data="wikipedia",
    ),
}
