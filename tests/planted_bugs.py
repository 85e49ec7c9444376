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
    Bug("mask off by one: sees one token ahead", "attention.py", "diagonal=S - T + 1", "diagonal=S - T + 2", "test_attention.py::test_no_token_sees_the_future"),
    Bug("mask off by one: cannot see itself", "attention.py", "diagonal=S - T + 1", "diagonal=S - T", "test_attention.py::test_the_causal_mask_hides_exactly_the_future"),
    Bug("mask inverted: sees only the future", "attention.py", "mask.triu(", "mask.tril(", "test_attention.py::test_no_token_sees_the_future"),
    Bug("no mask in the fused kernel", "attention.py", "is_causal=T > 1", "is_causal=False", "test_attention.py::test_no_token_sees_the_future"),
    Bug("softmax over the queries", "attention.py", "scores.softmax(dim=-1", "scores.softmax(dim=-2", "test_attention.py::test_weights_of_a_query_sum_to_one_and_are_zero_on_the_future"),
    Bug("scores not scaled", "attention.py", "alpha=1 / math.sqrt(D)", "alpha=1.0", "test_attention.py::test_scores_are_divided_by_the_root_of_the_head_size"),
    Bug("scaled by the width, not the head size", "attention.py", "alpha=1 / math.sqrt(D)", "alpha=1 / math.sqrt(H * D)", "test_attention.py::test_written_attention_equals_the_fused_kernel_and_a_plain_loop"),
    Bug("queries and keys exchanged", "attention.py", "q, k, v = self.split_heads(x)", "k, q, v = self.split_heads(x)", "test_attention.py::test_the_layer_equals_multihead_attention"),
    Bug("heads and time not exchanged back", "attention.py", "y = y.transpose(1, 2).reshape(", "y = y.reshape(", "test_attention.py::test_seven_heads_of_54_in_a_width_of_384"),
    Bug("attention dropout in evaluation", "attention.py", "self.dropout if self.training else 0.0", "self.dropout", "test_attention.py::test_attention_dropout_is_active_only_in_training"),
    # block
    Bug("post-norm instead of pre-norm", "block.py", "x = x + self.attention(self.norm1(x), cache)",
        "x = self.norm1(x + self.attention(x, cache))", "test_block.py::test_a_layer_norm_stands_before_each_part"),
    Bug("no residual around the feed-forward", "block.py", "return x + self.feed_forward", "return self.feed_forward", "test_block.py::test_the_block_equals_one_of_pytorchs_layers"),
    Bug("one norm used twice", "block.py", "self.feed_forward(self.norm2(x))", "self.feed_forward(self.norm1(x))", "test_block.py::test_the_block_equals_one_of_pytorchs_layers"),
    Bug("GELU instead of ReLU", "block.py", "self.expand(x).relu()", "nn.functional.gelu(self.expand(x))", "test_block.py::test_the_feed_forward_network_equals_its_formula"),
    Bug("no nonlinearity", "block.py", "self.expand(x).relu()", "self.expand(x)", "test_block.py::test_the_feed_forward_network_equals_its_formula"),
    # gpt
    Bug("tied weights copied", "gpt.py", "self.head.weight = self.token_embedding.weight",
        "self.head.weight = nn.Parameter(self.token_embedding.weight.clone())", "test_gpt.py::test_head_and_token_embedding_are_one_matrix"),
    Bug("no final norm", "gpt.py", "return self.norm(x)", "return x", "test_gpt.py::test_the_gpt_is_embeddings_blocks_norm_and_head"),
    Bug("positions start again behind a cache", "gpt.py", "self.embed(idx, len(cache) if cache is not None else 0)",
        "self.embed(idx, 0)", "test_gpt.py::test_with_a_cache_positions_start_at_its_length"),
    Bug("no positions", "gpt.py", "self.token_embedding(idx) + position", "self.token_embedding(idx)", "test_gpt.py::test_positions_start_at_zero_and_matter"),
    Bug("weights too large at the start", "gpt.py", "nn.init.normal_(module.weight, std=0.02)", "nn.init.normal_(module.weight)", "test_gpt.py::test_at_the_start_the_loss_is_that_of_guessing"),
    Bug("residual projections not scaled", "gpt.py", "std=0.02 / math.sqrt(2 * config.n_layers)", "std=0.02", "test_gpt.py::test_initial_weights_are_those_of_gpt2"),
    Bug("gradient of the loss without − y", "gpt.py", "grad.new_full((len(target), 1), -1.0)",
        "grad.new_full((len(target), 1), 0.0)", "test_gpt.py::test_chunked_cross_entropy_equals_pytorchs"),
    Bug("loss summed over chunks, gradient averaged", "gpt.py", "return total / len(targets)", "return total", "test_gpt.py::test_chunked_cross_entropy_equals_pytorchs"),
    # data
    Bug("targets not shifted", "data.py", "return window[:, :-1], window[:, 1:]", "return window[:, :-1], window[:, :-1]", "test_training.py::test_targets_are_the_next_tokens"),
    Bug("inputs and targets exchanged", "data.py", "return window[:, :-1], window[:, 1:]",
        "return window[:, 1:], window[:, :-1]", "test_training.py::test_targets_are_the_next_tokens"),
    Bug("the same order in every epoch", "data.py", "default_rng((self.seed, epoch))", "default_rng(self.seed)", "test_batches.py::test_epochs_and_seeds_differ"),
    Bug("every process takes the same rows", "data.py", "(i * self.world + self.rank) * self.batch_size",
        "i * self.batch_size", "test_batches.py::test_processes_share_one_larger_batch"),
    Bug("split by the whole text: an edit moves an article", "data.py", 'title = article.split("\\n", 1)[0]',
        "title = article", "test_data.py::test_the_split_is_by_title_and_never_changes"),
    Bug("no end token between articles", "data.py", "ids.append(tokenizer.end_id)", "pass", "test_data.py::test_no_article_is_in_both_parts"),
    Bug("tokenizer trained on validation text too", "data.py", "if not is_validation(a)), vocab_size)", "), vocab_size)", "test_data.py::test_the_tokenizer_is_trained_on_the_training_part_only"),
    # recipe and training
    Bug("weight decay on biases and norms", "recipe.py", "if p.dim() >= 2]", "if p.dim() >= 1]", "test_recipe.py::test_weight_decay_on_matrices_only"),
    Bug("betas forgotten", "recipe.py", "betas=config.betas, ", "", "test_training.py::test_ten_steps_equal_the_same_by_hand"),
    Bug("warm-up starts at zero", "recipe.py", "config.lr * (step + 1) / config.warmup_iters",
        "config.lr * step / config.warmup_iters", "test_recipe.py::test_learning_rate_equals_the_closed_form_at_every_step"),
    Bug("cosine without its half", "recipe.py", "0.5 * (1 + math.cos(", "1.0 * (1 + math.cos(", "test_recipe.py::test_learning_rate_equals_the_closed_form_at_every_step"),
    Bug("annealed to zero, not to the floor", "recipe.py", "(config.lr_floor + (1 - config.lr_floor) * cosine)", "cosine", "test_recipe.py::test_learning_rate_at_known_points"),
    Bug("clipping after the step", "training.py",
        "        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.grad_clip)\n",
        "        self.optimizer.step()\n        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.grad_clip)\n", "test_training.py::test_gradients_are_clipped_before_the_step"),
    Bug("gradients never cleared", "training.py", "        self.optimizer.zero_grad(set_to_none=True)\n", "", "test_training.py::test_ten_steps_equal_the_same_by_hand"),
    Bug("accumulated loss not divided", "training.py", "self.parallel(inputs, targets) / config.accumulation",
        "self.parallel(inputs, targets)", "test_training.py::test_accumulation_equals_a_larger_batch"),
    Bug("accumulation takes one batch again and again", "training.py", "self.step * config.accumulation + i",
        "self.step * config.accumulation", "test_training.py::test_accumulation_equals_a_larger_batch"),
    Bug("evaluation with dropout", "training.py", "    model.eval()\n", "", "test_training.py::test_evaluate_leaves_no_trace"),
    Bug("bits per byte without ln 2", "training.py", "loss / math.log(2) / run.corpus", "loss / run.corpus", "test_run.py::test_bits_per_byte"),
    Bug("optimiser state not resumed", "training.py", '        self.optimizer.load_state_dict(state["optimizer"])\n', "", "test_resume.py::test_ctrl_c_saves_and_returns"),
    # generation
    Bug("cache forgets the newest token", "generation.py", "return self.k.narrow(2, 0, self.length), self.v.narrow(2, 0, self.length)",
        "return self.k.narrow(2, 0, start), self.v.narrow(2, 0, start)", "test_generation.py::test_cached_hidden_states_equal_those_of_the_whole_sequence"),
    Bug("cache one place too far", "generation.py", "self.k.narrow(2, start, k.size(2)).copy_(k)",
        "self.k.narrow(2, max(0, start - 1), k.size(2)).copy_(k)", "test_generation.py::test_cache_changes_no_token_and_no_logit"),
    Bug("temperature multiplies", "generation.py", "amax(-1, keepdim=True)) / temperature", "amax(-1, keepdim=True)) * temperature", "test_generation.py::test_probabilities_equal_those_computed_by_hand"),
    Bug("top-p leaves out the token that reaches p", "generation.py", "ordered.cumsum(-1) - ordered", "ordered.cumsum(-1)", "test_generation.py::test_probabilities_equal_those_computed_by_hand"),
    Bug("top-p not made to sum to one", "generation.py", "probs = probs / probs.sum(-1, keepdim=True)", "pass", "test_generation.py::test_probabilities_equal_those_computed_by_hand"),
    Bug("repetition penalty rewards negative logits", "generation.py", "score / repetition_penalty, score * repetition_penalty",
        "score / repetition_penalty, score / repetition_penalty", "test_generation.py::test_repetition_penalty_lowers_seen_tokens_once_each"),
    Bug("the window does not slide", "generation.py", "model.hidden(idx[:, -context:], cache)", "model.hidden(idx[:, :context], cache)", "test_generation.py::test_past_the_context_the_window_slides_by_one_token"),
    Bug("generation leaves dropout off", "generation.py", "        model.train(was_training)\n", "        pass\n", "test_generation_text.py::test_dropout_is_off_while_generating_and_back_on_afterwards"),
    # checkpoint and tokenizer
    Bug("checkpoint's digest not compared", "checkpoint.py", "hashlib.sha256(content).digest() != digest", "False", "test_checkpoint_refused.py::test_every_flipped_bit_is_refused"),
    Bug("checkpoint written in place", "checkpoint.py", 'part = path.with_name(path.name + ".part")', "part = path", "test_checkpoint.py::test_a_full_disk_leaves_the_previous_checkpoint"),
    Bug("pickles are executed", "checkpoint.py", "weights_only=True)", "weights_only=False)", "test_checkpoint_refused.py::test_nothing_in_a_file_is_executed"),
    Bug("newlines lost", "tokenizer.py", 'return "\\n".join(', 'return " ".join(', "test_tokenizer.py::test_text_comes_back_exactly"),
    Bug("text normalised", "tokenizer.py", 'normalization_rule_name="identity"', 'normalization_rule_name="nmt_nfkc"', "test_tokenizer.py::test_text_comes_back_exactly"),
    Bug("spaces collapsed", "tokenizer.py", "remove_extra_whitespaces=False", "remove_extra_whitespaces=True", "test_tokenizer.py::test_text_comes_back_exactly"),
    Bug("no byte fallback for rare characters", "tokenizer.py", "byte_fallback=True", "byte_fallback=False", "test_tokenizer.py::test_text_comes_back_exactly"),
]  # fmt: skip
