"""The same arithmetic as PEFT's and Transformers' modules, with fewer passes over memory and less of it kept.

On two cores with about 100 GFLOP/s, elementwise passes cost as much as a third of a step. Each replacement here is an
autograd function of its own that keeps only what its backward pass cannot cheaply compute again.
"""

from types import MethodType
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.nn import functional


def speed_up(model: PeftModel) -> None:
    """Replace, in place, the forward of plain LoRA modules and of SwiGLU MLPs by an equal, leaner one."""
    for module in model.modules():
        if isinstance(module, Linear) and _is_plain(module):
            module.forward = MethodType(_lora_forward, module)
        elif _is_swiglu(module):
            module.forward = MethodType(_mlp_forward, module)


def _is_plain(module: Linear) -> bool:
    name = module.active_adapters[0]
    return (
        len(module.active_adapters) == 1
        and not module.lora_variant
        and not module.lora_bias.get(name)
        and isinstance(module.lora_dropout[name], nn.Identity)
        and type(module.base_layer) is nn.Linear
        and not module.base_layer.weight.requires_grad
    )


def _is_swiglu(module: nn.Module) -> bool:
    parts = {name for name, _ in module.named_children()}
    act = getattr(module, "act_fn", None)
    return parts == {"gate_proj", "up_proj", "down_proj", "act_fn"} and type(act).__name__ in ("SiLU", "SiLUActivation")


def _lora_forward(self: Linear, x: Tensor) -> Tensor:
    if self.disable_adapters or self.merged:
        return self.base_layer(x)
    name = self.active_adapters[0]
    base = self.base_layer
    a, b = self.lora_A[name].weight, self.lora_B[name].weight
    result: Tensor = _LoraLinear.apply(x, base.weight, base.bias, a, b, self.scaling[name])
    return result


class _LoraLinear(torch.autograd.Function):  # type: ignore[misc]  # seen as Any
    """x (..., in), weight (out, in), a (r, in), b (out, r) -> x weight^T + bias + scale x a^T b^T.

    Keeps x, which its neighbours keep as well; x a^T is r wide.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        dtype = weight.dtype
        with torch.autocast(x.device.type, enabled=False):
            flat = x.reshape(-1, x.shape[-1]).to(dtype)
            inner = torch.mm(flat, a.to(dtype).t())
            out = torch.mm(flat, weight.t()) if bias is None else torch.addmm(bias, flat, weight.t())
            out.addmm_(inner, b.to(dtype).t(), alpha=scale)
        ctx.save_for_backward(flat, inner, weight, a, b)
        ctx.scale, ctx.shape, ctx.dtype = scale, x.shape, x.dtype
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        flat, inner, weight, a, b = ctx.saved_tensors
        dtype = weight.dtype
        grad = grads[0].reshape(-1, grads[0].shape[-1]).to(dtype)
        d_inner = torch.mm(grad, b.to(dtype)).mul_(ctx.scale)
        d_a = torch.mm(d_inner.t(), flat)
        d_b = torch.mm(grad.t(), inner).mul_(ctx.scale)
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = torch.mm(grad, weight).addmm_(d_inner, a.to(dtype)).view(ctx.shape).to(ctx.dtype)
        return d_x, None, None, d_a.to(a.dtype), d_b.to(b.dtype), None


def _mlp_forward(self: Any, x: Tensor) -> Tensor:
    return self.down_proj(_SwiGlu.apply(self.gate_proj(x), self.up_proj(x)))


class _SwiGlu(torch.autograd.Function):  # type: ignore[misc]  # seen as Any
    """silu(gate) * up; keeps its two inputs alone."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        d_up = functional.silu(gate).mul_(grads[0])
        d_gate = torch.ops.aten.silu_backward(grads[0] * up, gate)
        return d_gate, d_up
