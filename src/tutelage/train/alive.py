"""How much memory tensors take at once, counted as they come and go."""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only


class Alive(TorchDispatchMode):  # type: ignore[misc]  # seen as Any
    """While it is on, the bytes of all tensors on "meta" that operations give, and of those that are `held` already.

    A tensor counts until nothing holds it any more, autograd included; views count once. What a kernel takes for itself
    is not seen. `takes` says what the allocator takes for a block of so many bytes; what is held takes no more than it
    is, since it stays where it was put.
    """

    def __init__(self, held: Iterable[Tensor] = (), takes: Callable[[int], float] = float) -> None:
        super().__init__()
        self.now = self.peak = 0.0
        self._seen: dict[int, float] = {}  # bytes, by the address of a storage that is alive
        self._takes: Callable[[int], float] = float
        for tensor in held:
            self._count(tensor)
        self._takes = takes

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._count, out)
        return out

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        address = storage._cdata
        if tensor.device.type != "meta" or address in self._seen:
            return
        self._seen[address] = self._takes(storage.nbytes())
        self.now += self._seen[address]
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, address).atexit = False

    def _forget(self, address: int) -> None:
        self.now -= self._seen.pop(address)
