"""The same arithmetic as PEFT's and Transformers' modules, with fewer passes over memory and less of it kept.

On two cores with about 100 GFLOP/s, elementwise passes cost up to a third of a step, and what autograd keeps for the
backward pass is what decides how large a tree fits. Each replacement is an autograd function of its own that keeps
only what its backward pass cannot cheaply compute again; the tests hold them equal to what they replace.
"""

from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.nn import functional

from tutelage.train.compute import as_typed


def speed_up(model: PeftModel) -> None:
    """Replace, in place, the forward of plain LoRA modules, SwiGLU MLPs and RMS norms by an equal, leaner one."""
    for module in model.modules():
        if isinstance(module, Linear):
            if _is_plain(module):
                module.forward = MethodType(_lora_forward, module)
        elif _is_swiglu(module):
            module.forward = MethodType(_mlp_forward, module)
        elif _is_rms_norm(module):
            module.forward = MethodType(_norm_forward, module)


def _is_plain(module: Linear) -> bool:
    name = module.active_adapters[0]
    return (
        len(module.active_adapters) == 1
        and not module.lora_variant
        and not module.lora_bias.get(name)
        and isinstance(module.lora_dropout[name], nn.Identity)
        and type(module.base_layer) is nn.Linear
        and not any(parameter.requires_grad for parameter in module.base_layer.parameters())  # a bias may learn
    )


def _is_swiglu(module: nn.Module) -> bool:
    parts = dict(module.named_children())
    return (
        parts.keys() == {"gate_proj", "up_proj", "down_proj", "act_fn"}
        and type(parts["act_fn"]).__name__ in ("SiLU", "SiLUActivation")
        and all(
            isinstance(part, Linear) and _is_plain(part) and part.base_layer.bias is None
            for name, part in parts.items()
            if name != "act_fn"
        )
    )


def _is_rms_norm(module: nn.Module) -> bool:
    """Llama's, as it stands in most families; Gemma's, which adds one to its weight, has another name."""
    return type(module).__name__ in ("LlamaRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm", "MistralRMSNorm") and not any(
        parameter.requires_grad for parameter in module.parameters()
    )


@dataclass(frozen=True)
class _Lora:
    """One module's tensors: weight (out, in), a (r, in), b (out, r)."""

    weight: Tensor
    a: Tensor
    b: Tensor
    scale: float

    def forward(self, x: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x (n, in) -> the output (n, out) and x a^T (n, r), which the backward pass wants."""
        dtype = self.weight.dtype
        inner = torch.mm(x, self.a.to(dtype).t())
        out = torch.mm(x, self.weight.t()) if bias is None else torch.addmm(bias, x, self.weight.t())
        return out.addmm_(inner, self.b.to(dtype).t(), alpha=self.scale), inner

    def backward(
        self, grad: Tensor, x: Tensor, inner: Tensor, into: Tensor | None, wanted: bool = True
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """Gradients of x (added to `into`, if given), a and b."""
        dtype = self.weight.dtype
        d_inner = torch.mm(grad, self.b.to(dtype)).mul_(self.scale)
        d_a = torch.mm(d_inner.t(), x).to(self.a.dtype)
        d_b = torch.mm(grad.t(), inner).mul_(self.scale).to(self.b.dtype)
        if not wanted:
            return None, d_a, d_b
        d_x = torch.mm(grad, self.weight) if into is None else into.addmm_(grad, self.weight)
        return d_x.addmm_(d_inner, self.a.to(dtype)), d_a, d_b


def _parts(module: Linear) -> tuple[Tensor, Tensor, Tensor, float]:
    name = module.active_adapters[0]
    return (
        module.base_layer.weight,
        module.lora_A[name].weight,
        module.lora_B[name].weight,
        module.scaling[name],
    )


def _lora_forward(self: Linear, x: Tensor) -> Tensor:
    if self.disable_adapters or self.merged:
        return self.base_layer(x)
    return _LoraLinear.apply(x, self.base_layer.bias, *_parts(self))


class _LoraLinear(torch.autograd.Function):  # type: ignore[misc]  # seen as Any
    """x (..., in) -> x weight^T + bias + scale x a^T b^T. Keeps x, as its neighbours do."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
        with as_typed(x.device):
            flat = x.reshape(-1, x.shape[-1]).to(weight.dtype)
            out, inner = _Lora(weight, a, b, scale).forward(flat, bias)
        ctx.save_for_backward(flat, inner, weight, a, b)
        ctx.scale, ctx.shape, ctx.dtype = scale, x.shape, x.dtype
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        flat, inner, weight, a, b = ctx.saved_tensors
        grad = grads[0].reshape(-1, grads[0].shape[-1]).to(flat.dtype)
        d_x, d_a, d_b = _Lora(weight, a, b, ctx.scale).backward(grad, flat, inner, None, ctx.needs_input_grad[0])
        return None if d_x is None else d_x.view(ctx.shape).to(ctx.dtype), None, None, d_a, d_b, None


def _mlp_forward(self: Any, x: Tensor) -> Tensor:
    modules = (self.gate_proj, self.up_proj, self.down_proj)
    if any(module.disable_adapters or module.merged for module in modules):
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))
    return _SwiGluMlp.apply(x, *(part for module in modules for part in _parts(module)))


class _SwiGluMlp(torch.autograd.Function):  # type: ignore[misc]  # seen as Any
    """down(silu(gate(x)) * up(x)), each with LoRA. Keeps x and the outputs of gate and up, not their product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parts: Any) -> Tensor:
        gate, up, down = _Lora(*parts[:4]), _Lora(*parts[4:8]), _Lora(*parts[8:])
        with as_typed(x.device):
            flat = x.reshape(-1, x.shape[-1]).to(gate.weight.dtype)
            g, inner_g = gate.forward(flat)
            u, inner_u = up.forward(flat)
            out, inner_d = down.forward(functional.silu(g).mul_(u))
        tensors = (tensor for lora in (gate, up, down) for tensor in (lora.weight, lora.a, lora.b))
        ctx.save_for_backward(flat, g, u, inner_g, inner_u, inner_d, *tensors)
        ctx.scales, ctx.shape, ctx.dtype = (gate.scale, up.scale, down.scale), x.shape, x.dtype
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        flat, g, u, inner_g, inner_u, inner_d, *tensors = ctx.saved_tensors
        gate, up, down = (
            _Lora(*one) for one in zip(tensors[::3], tensors[1::3], tensors[2::3], ctx.scales, strict=True)
        )
        grad = grads[0].reshape(-1, grads[0].shape[-1]).to(flat.dtype)
        active = functional.silu(g)
        d_hidden, d_a_down, d_b_down = down.backward(grad, active * u, inner_d, None)
        assert d_hidden is not None
        d_x, d_a_up, d_b_up = up.backward(active.mul_(d_hidden), flat, inner_u, None)
        d_gate = torch.ops.aten.silu_backward(d_hidden.mul_(u), g)
        d_x, d_a_gate, d_b_gate = gate.backward(d_gate, flat, inner_g, d_x)
        assert d_x is not None
        return (
            d_x.view(ctx.shape).to(ctx.dtype),
            *(None, d_a_gate, d_b_gate, None),
            *(None, d_a_up, d_b_up, None),
            *(None, d_a_down, d_b_down, None),
        )


def _norm_forward(self: Any, x: Tensor) -> Tensor:
    return _RmsNorm.apply(x, self.weight, self.variance_epsilon)


class _RmsNorm(torch.autograd.Function):  # type: ignore[misc]  # seen as Any
    """weight * x / rms(x), computed in float32 as Transformers does. Keeps x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        wide = x.float()
        inverse = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_()
        inverse = inverse.div_(x.shape[-1]).add_(epsilon).rsqrt_()  # (..., 1)
        ctx.save_for_backward(x, weight, inverse)
        return (wide * inverse).to(x.dtype).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inverse = ctx.saved_tensors
        wide = x.float()
        grad = (grads[0] * weight).float()
        along = torch.linalg.vecdot(grad, wide).unsqueeze(-1)  # how much of the gradient only stretches x
        along.mul_(inverse.pow(3)).div_(-x.shape[-1])
        return grad.mul_(inverse).addcmul_(wide, along).to(x.dtype), None, None
