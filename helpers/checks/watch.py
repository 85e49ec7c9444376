"""What a student's function does on its way to the result: forbidden calls, loops, and what it reads of a tensor."""

import torch
from torch.overrides import TorchFunctionMode


class NotAllowed(RuntimeError):
    """Raised inside a student's function, at the line that does what the exercise rules out."""


class Loop(NotAllowed):
    """Raised where there are so many tensor operations that there must be a loop."""


class TooMuch(NotAllowed):
    """Raised where more than a block is read or stored at once."""


class ReadAhead(NotAllowed):
    """Raised where a block is read while an earlier one is not used up."""


class ReadTwice(NotAllowed):
    """Raised where an earlier block is read once more."""


class Watch(TorchFunctionMode):
    """While it is active, refuses the functions named in `forbidden`, and more than `most` tensor operations.

    forbidden: {name of a function: what to do instead}; a method counts as the function of its name, `x.f_` as `f`.
    """

    def __init__(self, forbidden=None, most=10_000, loop=""):
        super().__init__()
        self.forbidden, self.left, self.loop = forbidden or {}, most, loop

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Look at one call before it is made."""
        name = getattr(func, "__name__", "").strip("_")
        if name in self.forbidden:
            raise NotAllowed(self.forbidden[name])
        self.left -= 1
        if self.left < 0:
            raise Loop(self.loop)
        return func(*args, **(kwargs or {}))


class OnePass(TorchFunctionMode):
    """While it is active, the rows of some tensors can be read in blocks only, side by side, and each block once.

    A block that is being read may be read again until the next one is; to cut a tensor into views is not to read it.
    """

    NOT_READING = ("__get__", "__len__", "dim", "new_empty", "new_full", "new_zeros", "numel", "size", "zeros_like")

    def __init__(self, *read, block):
        super().__init__()
        self.blocks = {tensor.untyped_storage().data_ptr(): [] for tensor in read}
        self.block, self.width = block, read[0].stride(0)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Look at what one call took and made."""
        result = func(*args, **(kwargs or {}))
        new = [t for t in tensors(result) if t.untyped_storage().data_ptr() not in self.blocks]
        if new or not list(tensors(result)):
            for tensor in tensors([args, kwargs]) if getattr(func, "__name__", "") not in self.NOT_READING else ():
                self.note(tensor)
        if any(t.is_floating_point() and max(t.shape, default=0) > max(self.block, self.width) for t in new):
            raise TooMuch(
                f"{getattr(func, '__name__', 'it')} made a tensor {tuple(new[0].shape)}, and a block has {self.block} rows"
            )
        return result

    def note(self, tensor):
        """Write down which block is read here, if it is one of the tensors in question."""
        seen = self.blocks.get(tensor.untyped_storage().data_ptr())
        if seen is None or not tensor.numel():
            return
        first = tensor.storage_offset()
        last = first + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
        first, last = first // self.width, last // self.width
        if last - first >= self.block:
            raise TooMuch(f"{last - first + 1} rows are read at once, and a block has {self.block}")
        if first // self.block in seen[:-1]:
            raise ReadTwice(f"row {first} is read again, after rows of another block")
        if first // self.block not in seen:
            seen.append(first // self.block)
        if len(seen) > 1 + min(map(len, self.blocks.values())):
            raise ReadAhead(
                f"row {first} is read while rows of an earlier block are still needed: so all scores are kept, or read again"
            )


def tensors(value):
    """Yield the tensors in a value: itself, or those in its lists, tuples and dictionaries."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors(part)
