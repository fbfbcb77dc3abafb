"""Traces a timm model on tensors without storage, into a :class:`.workload.Workload`.

Every PyTorch operation that depends on the image is one of

* a matrix product: linear layers, convolutions (one product per group), and products of two
  activations (one per head or window);
* a vector operation, which needs whole rows: normalisations, softmax, pooling;
* an element operation, done on the way to memory; multiplication and addition of constants that
  are the same for a whole channel, and batch normalisation, are folded into weights and cost
  nothing;
* a move: addressing, which costs nothing.

Whatever depends on weights alone is computed beforehand and does not count. An operation that is
none of these is refused by name.
"""

import contextlib
import math

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..cli import UserError, one_line
from .workload import (
    HEAD,
    IMAGE,
    PATCH,
    SOFTMAX,
    Operation,
    Product,
    Vector,
    Workload,
    name_attention,
    role_of,
    split_into_parts,
)

_MOVES = frozenset([
    "alias", "as_strided", "cat", "channel_shuffle", "clone", "constant_pad_nd", "copy", "detach",
    "diagonal", "dropout", "expand", "flip", "gather", "im2col", "index", "index_put",
    "index_select", "lift_fresh", "masked_fill", "native_batch_norm", "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training", "permute", "pixel_shuffle", "pixel_unshuffle",
    "reflection_pad2d", "repeat", "replication_pad2d", "reshape", "roll", "select",
    "select_scatter", "slice", "slice_scatter", "split", "split_with_sizes", "squeeze", "stack",
    "t", "_to_copy", "transpose", "unbind", "unfold", "unsafe_split", "_unsafe_view", "unsqueeze",
    "upsample_nearest2d", "view",
])
_CONSTANTS = frozenset([
    "zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "new_zeros",
    "new_ones", "new_empty", "new_full", "bernoulli",
])
_FUNCTIONS = [
    "cos", "elu", "erf", "exp", "gelu", "glu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu",
    "log", "log_sigmoid_forward", "mish", "pow", "prelu", "_prelu_kernel", "reciprocal", "relu",
    "relu6", "rsqrt", "sigmoid", "silu", "sin", "softplus", "sqrt", "tanh",
]
_POINTWISE = {
    "add": "add", "sub": "add", "rsub": "add", "col2im": "add", "mul": "multiply",
    "div": "multiply", "where": "add", "maximum": "add", "minimum": "add", "addcmul": "multiply",
    "neg": "add", "abs": "add", "clamp": "add", "clamp_min": "add", "clamp_max": "add",
    **{name: name for name in _FUNCTIONS},
}
_FOLDED = {"add", "sub", "rsub", "mul", "div", "neg"}
_REDUCTIONS = {"mean": "mean", "sum": "sum", "amax": "max pool", "max": "max pool",
               "linalg_vector_norm": "L2 norm", "var_mean": "variance", "std": "variance"}
_POOLS = {"avg_pool2d": "average pool", "_adaptive_avg_pool2d": "average pool",
          "max_pool2d_with_indices": "max pool", "max_pool2d": "max pool",
          "adaptive_max_pool2d": "max pool",
          "upsample_bilinear2d": "resize", "upsample_bicubic2d": "resize"}
_ROOT = "model"  # name of what happens outside all modules
_TRACE_ERRORS = (RuntimeError, TypeError, ValueError, AssertionError, IndexError, KeyError,
                 AttributeError)


def trace(model: torch.nn.Module, name: str) -> Workload:
    """Return the workload of `model`, a timm model on the meta device, called `name`.

    Raises
    ------
    UserError
        If it has operations that cannot be mapped, or needs values to run.
    """
    config = model.pretrained_cfg
    shape = tuple(config["input_size"])
    tracer = _Tracer(model, name)
    image = torch.empty(1, *shape, device="meta")
    tracer.set_values(image, (IMAGE,))
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), tracer.hooks(), tracer:
            model(image)
    except _TRACE_ERRORS as error:
        raise UserError(f"cannot trace {name} at {tracer.path or 'its input'}: "
                        f"{one_line(error)[:160]}") from None
    if not any(isinstance(op, Product) for op in tracer.operations):
        raise UserError(f"cannot estimate {name}: it has no matrix products")
    name_attention(tracer.operations)
    split_into_parts(tracer.operations)
    return Workload(name, shape, tuple(tracer.operations))


class _Tracer(TorchDispatchMode):
    """Follows the values that depend on the image, by the storage that holds them."""

    def __init__(self, model, name):
        super().__init__()
        self.operations: list[Operation] = []
        self._model = model
        self._name = name
        self._values: dict[int, tuple[int, ...]] = {}
        self._kept = []  # storages, so that no address is used twice
        self._modules: list[str] = []
        self._weights = {_storage(p): key.removesuffix(".weight")
                         for key, p in model.named_parameters()}
        classifier = model.pretrained_cfg.get("classifier") or ()
        self._heads = {classifier} if isinstance(classifier, str) else set(classifier)

    @property
    def path(self) -> str:
        """Module that runs now."""
        return self._modules[-1] if self._modules else ""

    @contextlib.contextmanager
    def hooks(self):
        """Keep `path` up to date while the model runs."""
        handles = []
        for path, module in self._model.named_modules():
            handles.append(module.register_forward_pre_hook(
                lambda *_, path=path: self._modules.append(path)))
            handles.append(module.register_forward_hook(lambda *_: self._modules.pop() and None))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def values(self, tensor) -> tuple[int, ...]:
        """Return the values that `tensor` is made of; none if it does not depend on the image."""
        return self._values.get(_storage(tensor), ())

    def set_values(self, tensor, values):
        """Say which values `tensor` is made of."""
        self._kept.append(tensor.untyped_storage())
        self._values[_storage(tensor)] = values

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        inputs = [leaf for leaf in tree_leaves((args, kwargs))
                  if isinstance(leaf, torch.Tensor) and self.values(leaf)]
        outputs = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        if inputs and outputs:
            self._record(func, args, inputs, outputs)
        return out

    def _record(self, func, args, inputs, outputs):
        name = func.overloadpacket.__name__.removesuffix("_")
        merged = self._merged(inputs)
        numbers = any(out.is_floating_point() or out.is_complex() for out in outputs)
        if name in _CONSTANTS or not numbers:
            return
        if name in _MOVES:
            for tensor in outputs:
                self.set_values(tensor, merged)
        elif name in _POINTWISE:
            self._element_operation(name, args, inputs, outputs[0])
        elif (record := getattr(self, f"_on_{name}", None)) is not None:
            record(args, outputs[0])
        elif name in _REDUCTIONS:
            rows = outputs[0].numel()
            self._vector(_REDUCTIONS[name], inputs[0], rows, inputs[0].numel() // rows, outputs)
        elif name in _POOLS:
            self._vector(_POOLS[name], inputs[0], outputs[0].shape[0] * outputs[0].shape[1],
                         inputs[0][0, 0].numel(), outputs)
        else:
            raise UserError(f"cannot estimate {self._name}: {self.path or 'the model'} uses "
                            f"aten.{name}, which the accelerator has no operation for")

    def _merged(self, tensors) -> tuple[int, ...]:
        return tuple(sorted({value for tensor in tensors for value in self.values(tensor)}))

    def _element_operation(self, name, args, inputs, out):
        groups = {self.values(tensor) for tensor in inputs}
        constants = [a for a in args if isinstance(a, torch.Tensor) and not self.values(a)]
        folded = (name in _FOLDED and len(inputs) == 1
                  and all(sum(size > 1 for size in c.shape) <= 1 for c in constants))
        merged = self._merged(inputs)
        maker = max(merged)
        if maker == IMAGE or folded:
            self.set_values(out, merged)
            return
        op = self.operations[maker]
        op.pointwise.append((_POINTWISE[name], out.numel()))
        if len(groups) == 1:
            self.set_values(out, merged)
            return
        # Two values become one: the later operation reads the earlier values as well.
        others = tuple(value for value in merged if value not in (maker, IMAGE))
        op.extra = (*op.extra, *(value for value in others if value not in op.reads))
        op.reads = tuple(sorted({*op.reads, *others}))
        if _POINTWISE[name] == "add":
            for value in (maker, *others):
                self.operations[value].wide = True
        self.set_values(out, (maker,))

    # Matrix products.

    def _product(self, left, right, m, k, n, count, out):
        """Record products; whichever operand does not depend on the image holds the weights."""
        if not self.values(left):
            left, right, m, n = right, left, n, m
        number = len(self.operations)
        weight = None if self.values(right) else self._weights.get(_storage(right))
        name = weight or self.path or _ROOT
        role = role_of(name)
        if IMAGE in self.values(left):
            role = PATCH
        elif name in self._heads:
            role = HEAD
        self.operations.append(Product(
            name=name, role=role, reads=self._merged((left, right)), elements=out.numel(),
            m=m, k=k, n=n, count=count, left=self.values(left), right=self.values(right),
            left_elements=left.numel()))
        self.set_values(out, (number,))

    def _on_mm(self, args, out):
        left, right = args[-2:]
        self._product(left, right, *left.shape, right.shape[1], 1, out)

    def _on_addmm(self, args, out):
        self._on_mm(args[:3], out)
        self._added(args[0], out)

    def _on_bmm(self, args, out):
        left, right = args[-2:]
        count, m, k = left.shape
        if not self.values(right) and right.stride(0) == 0:  # the same weights for all
            count, m = 1, m * count
        self._product(left, right, m, k, right.shape[2], count, out)

    def _on_baddbmm(self, args, out):
        self._on_bmm(args[:3], out)
        self._added(args[0], out)

    def _added(self, addend, out):
        if self.values(addend) or sum(size > 1 for size in addend.shape) > 1:
            self._element_operation("add", (), [t for t in (addend, out) if self.values(t)], out)

    def _on_convolution(self, args, out):
        data, weight, transposed, groups = args[0], args[1], args[6], args[8]
        if transposed:
            raise UserError(f"cannot estimate {self._name}: {self.path} is a transposed "
                            "convolution, which the accelerator has no operation for")
        self._product(data, weight, math.prod(out.shape[2:]) * out.shape[0],
                      math.prod(weight.shape[1:]), weight.shape[0] // groups, groups, out)

    # Vector operations.

    def _vector(self, role, tensor, rows, length, outputs):
        number = len(self.operations)
        values = self.values(tensor)
        for value in values:
            if value != IMAGE:
                self.operations[value].wide = True
        self.operations.append(Vector(name=self.path or _ROOT, role=role, reads=values,
                                      elements=outputs[0].numel(), rows=rows, length=length))
        for out in outputs:
            self.set_values(out, (number,))

    def _on__softmax(self, args, out):
        length = args[0].shape[args[1]]
        self._vector(SOFTMAX, args[0], out.numel() // length, length, [out])

    _on__safe_softmax = _on__softmax

    def _on_native_layer_norm(self, args, out):
        length = math.prod(args[1])
        self._vector("layer norm", args[0], out.numel() // length, length, [out])

    def _on__fused_rms_norm(self, args, out):
        length = math.prod(args[1])
        self._vector("RMS norm", args[0], out.numel() // length, length, [out])

    def _on_native_group_norm(self, args, out):
        rows = args[3] * args[6]
        self._vector("group norm", args[0], rows, out.numel() // rows, [out])


def _storage(tensor) -> int:
    return tensor.untyped_storage()._cdata
