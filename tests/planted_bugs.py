"""The bank of planted bugs: realistic mistakes, each one replacement in a file of helpers/, and the test that catches it."""

from typing import NamedTuple


class Bug(NamedTuple):
    """`old` stands exactly once in helpers/`file`; with `new` in its place the named test fails."""

    name: str
    file: str
    old: str
    new: str
    test: str


BUGS = [
    # attention
    Bug("mask off by one: sees one token ahead", "attention.py", "diagonal=S - T + 1", "diagonal=S - T + 2", ""),
    Bug("mask off by one: cannot see itself", "attention.py", "diagonal=S - T + 1", "diagonal=S - T", ""),
    Bug("mask inverted: sees only the future", "attention.py", "mask.triu(", "mask.tril(", ""),
    Bug("no mask in the fused kernel", "attention.py", "is_causal=T > 1", "is_causal=False", ""),
    Bug("softmax over the queries", "attention.py", "scores.softmax(dim=-1", "scores.softmax(dim=-2", ""),
    Bug("scores not scaled", "attention.py", "alpha=1 / math.sqrt(D)", "alpha=1.0", ""),
    Bug("scaled by the width, not the head size", "attention.py", "alpha=1 / math.sqrt(D)", "alpha=1 / math.sqrt(H * D)", ""),
    Bug("queries and keys exchanged", "attention.py", "q, k, v = self.split_heads(x)", "k, q, v = self.split_heads(x)", ""),
    Bug("heads and time not exchanged back", "attention.py", "y = y.transpose(1, 2).reshape(", "y = y.reshape(", ""),
    Bug("attention dropout in evaluation", "attention.py", "self.dropout if self.training else 0.0", "self.dropout", ""),
    # block
    Bug("post-norm instead of pre-norm", "block.py", "x = x + self.attention(self.norm1(x), cache)",
        "x = self.norm1(x + self.attention(x, cache))", ""),
    Bug("no residual around the feed-forward", "block.py", "return x + self.feed_forward", "return self.feed_forward", ""),
    Bug("one norm used twice", "block.py", "self.feed_forward(self.norm2(x))", "self.feed_forward(self.norm1(x))", ""),
    Bug("GELU instead of ReLU", "block.py", "self.expand(x).relu()", "nn.functional.gelu(self.expand(x))", ""),
    Bug("no nonlinearity", "block.py", "self.expand(x).relu()", "self.expand(x)", ""),
    # gpt
    Bug("tied weights copied", "gpt.py", "self.head.weight = self.token_embedding.weight",
        "self.head.weight = nn.Parameter(self.token_embedding.weight.clone())", ""),
    Bug("no final norm", "gpt.py", "return self.norm(x)", "return x", ""),
    Bug("positions start again behind a cache", "gpt.py", "self.embed(idx, len(cache) if cache is not None else 0)",
        "self.embed(idx, 0)", ""),
    Bug("no positions", "gpt.py", "self.token_embedding(idx) + position", "self.token_embedding(idx)", ""),
    Bug("weights too large at the start", "gpt.py", "nn.init.normal_(module.weight, std=0.02)", "nn.init.normal_(module.weight)", ""),
    Bug("residual projections not scaled", "gpt.py", "std=0.02 / math.sqrt(2 * config.n_layers)", "std=0.02", ""),
    Bug("gradient of the loss without − y", "gpt.py", "grad.new_full((len(target), 1), -1.0)",
        "grad.new_full((len(target), 1), 0.0)", ""),
    Bug("loss summed over chunks, gradient averaged", "gpt.py", "return total / len(targets)", "return total", ""),
    # data
    Bug("targets not shifted", "data.py", "return window[:, :-1], window[:, 1:]", "return window[:, :-1], window[:, :-1]", ""),
    Bug("inputs and targets exchanged", "data.py", "return window[:, :-1], window[:, 1:]",
        "return window[:, 1:], window[:, :-1]", ""),
    Bug("the same order in every epoch", "data.py", "default_rng((self.seed, epoch))", "default_rng(self.seed)", ""),
    Bug("every process takes the same rows", "data.py", "(i * self.world + self.rank) * self.batch_size",
        "i * self.batch_size", ""),
    Bug("split by the whole text: an edit moves an article", "data.py", 'title = article.split("\\n", 1)[0]',
        "title = article", ""),
    Bug("no end token between articles", "data.py", "ids.append(tokenizer.end_id)", "pass", ""),
    Bug("tokenizer trained on validation text too", "data.py", "if not is_validation(a)), vocab_size)", "), vocab_size)", ""),
    # recipe and training
    Bug("weight decay on biases and norms", "recipe.py", "if p.dim() >= 2]", "if p.dim() >= 1]", ""),
    Bug("betas forgotten", "recipe.py", "betas=config.betas, ", "", ""),
    Bug("warm-up starts at zero", "recipe.py", "config.lr * (step + 1) / config.warmup_iters",
        "config.lr * step / config.warmup_iters", ""),
    Bug("cosine without its half", "recipe.py", "0.5 * (1 + math.cos(", "1.0 * (1 + math.cos(", ""),
    Bug("annealed to zero, not to the floor", "recipe.py", "(config.lr_floor + (1 - config.lr_floor) * cosine)", "cosine", ""),
    Bug("clipping after the step", "training.py",
        "        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.grad_clip)\n        self.optimizer.step()\n",
        "        self.optimizer.step()\n        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.grad_clip)\n", ""),
    Bug("gradients never cleared", "training.py", "        self.optimizer.zero_grad(set_to_none=True)\n", "", ""),
    Bug("accumulated loss not divided", "training.py", "self.parallel(inputs, targets) / config.accumulation",
        "self.parallel(inputs, targets)", ""),
    Bug("accumulation takes one batch again and again", "training.py", "self.step * config.accumulation + i",
        "self.step * config.accumulation", ""),
    Bug("evaluation with dropout", "training.py", "    model.eval()\n", "", ""),
    Bug("bits per byte without ln 2", "training.py", "loss / math.log(2) / run.corpus", "loss / run.corpus", ""),
    Bug("optimiser state not resumed", "training.py", '        self.optimizer.load_state_dict(state["optimizer"])\n', "", ""),
    # generation
    Bug("cache forgets the newest token", "generation.py", "return self.k.narrow(2, 0, self.length), self.v.narrow(2, 0, self.length)",
        "return self.k.narrow(2, 0, start), self.v.narrow(2, 0, start)", ""),
    Bug("cache one place too far", "generation.py", "self.k.narrow(2, start, k.size(2)).copy_(k)",
        "self.k.narrow(2, max(0, start - 1), k.size(2)).copy_(k)", ""),
    Bug("temperature multiplies", "generation.py", "logits = logits / temperature", "logits = logits * temperature", ""),
    Bug("top-p leaves out the token that reaches p", "generation.py", "ordered.cumsum(-1) - ordered", "ordered.cumsum(-1)", ""),
    Bug("top-p not made to sum to one", "generation.py", "probs = probs / probs.sum(-1, keepdim=True)", "pass", ""),
    Bug("repetition penalty rewards negative logits", "generation.py", "score / repetition_penalty, score * repetition_penalty",
        "score / repetition_penalty, score / repetition_penalty", ""),
    Bug("the window does not slide", "generation.py", "model.hidden(idx[:, -context:], cache)", "model.hidden(idx[:, :context], cache)", ""),
    Bug("generation leaves dropout off", "generation.py", "        model.train(was_training)\n", "        pass\n", ""),
    # checkpoint and tokenizer
    Bug("checkpoint's digest not compared", "checkpoint.py", "hashlib.sha256(content).digest() != digest", "False", ""),
    Bug("checkpoint written in place", "checkpoint.py", 'part = path.with_name(path.name + ".part")', "part = path", ""),
    Bug("pickles are executed", "checkpoint.py", "weights_only=True)", "weights_only=False)", ""),
    Bug("newlines lost", "tokenizer.py", 'return "\\n".join(', 'return " ".join(', ""),
    Bug("text normalised", "tokenizer.py", 'normalization_rule_name="identity"', 'normalization_rule_name="nmt_nfkc"', ""),
    Bug("no byte fallback for rare characters", "tokenizer.py", "remove_extra_whitespaces=False", "remove_extra_whitespaces=True", ""),
]  # fmt: skip
