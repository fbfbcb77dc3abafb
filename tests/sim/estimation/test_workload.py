from collections import Counter

import pytest
import torch
from torch import nn

from sim.cli import UserError
from sim.estimation.tracing import trace
from sim.estimation.workload import HEAD, IMAGE, PATCH, Product, Vector, role_of
from tests.cases.workloads import DEIT_T_MACS, made_of, product, traced


def toy(module: nn.Module, size=(3, 8, 8), classifier="head") -> nn.Module:
    """Give `module` what timm models have, on the meta device."""
    module.pretrained_cfg = {"input_size": size, "classifier": classifier}
    return module.to("meta").eval()


class Forward(nn.Module):
    """A module of some layers and a function of them and the image."""

    def __init__(self, function, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self._function = function

    def forward(self, x):
        return self._function(self, x)


def test_macs_of_deit_tiny_by_role():
    macs = Counter()
    for op in traced("deit_t").products:
        macs[op.role] += op.macs
    assert macs == DEIT_T_MACS
    assert traced("deit_t").macs == 1_253_683_200
    assert traced("deit_t").weights == 5_647_872


def test_shapes_of_deit_tiny():
    shapes = Counter()
    for op in traced("deit_t").products:
        shapes[op.shape] += op.count
    assert shapes == {(196, 768, 192): 1, (197, 192, 576): 12, (197, 64, 197): 36,
                      (197, 197, 64): 36, (197, 192, 192): 12, (197, 192, 768): 12,
                      (197, 768, 192): 12, (1, 192, 1000): 1}


def test_elements_between_the_products_of_deit_tiny():
    elements = Counter()
    for op in traced("deit_t").operations:
        if isinstance(op, Vector):
            elements[op.role] += op.rows * op.length
        elements.update(dict(op.pointwise))
    assert elements == {"softmax": 36 * 197 * 197, "layer norm": 25 * 197 * 192,
                        "gelu": 12 * 197 * 768,
                        "add": 24 * 197 * 192 + 197 * 192}  # residuals, position embedding


@pytest.mark.parametrize(("name", "macs"), [
    ("deit_s", 4_598_882_304), ("vit_b", 17_563_828_224), ("swin_t", 4_490_566_656),
    ("vit_small_patch14_dinov2", 46_696_739_328), ("deit3_small_patch16_224", 4_598_882_304),
    ("beit_base_patch16_224", 17_563_828_224), ("eva02_tiny_patch14_224", 1_697_518_080),
    ("xcit_tiny_12_p16_224", 1_227_730_176), ("pvt_v2_b0", 566_065_664),
    ("mixer_s16_224", 3_776_958_464), ("levit_128", 405_321_728)])
def test_other_models_are_traced(name, macs):
    workload = traced(name)
    assert workload.macs == macs
    assert workload.products[0].role == PATCH
    assert all(op.name for op in workload.operations)


def test_layers_are_named_by_weight_or_module():
    names = [op.name for op in traced("deit_t").operations]
    assert names[:10] == [
        "patch_embed.proj", "blocks.0.norm1", "blocks.0.attn.qkv", "blocks.0.attn",
        "blocks.0.attn", "blocks.0.attn", "blocks.0.attn.proj", "blocks.0.norm2",
        "blocks.0.mlp.fc1", "blocks.0.mlp.fc2"]
    assert names[-1] == "head"


@pytest.mark.parametrize(("name", "role"), [
    ("blocks.3.attn.qkv", "qkv"), ("blocks.3.attn.proj", "projection"), ("blocks.3.mlp.fc1", "fc1"),
    ("stages.0.blocks.0.conv1.conv", "conv1.conv"), ("0", "0")])
def test_role_of_a_name(name, role):
    assert role_of(name) == role


def test_residual_stream_is_wide_and_operands_are_not():
    wide = {op.role for op in traced("deit_t").operations if op.wide}
    assert wide == {"patch embedding", "scores", "projection", "fc2"}


def test_scores_and_probabilities_pass_head_by_head():
    parts = {op.role: op.parts for op in traced("deit_t").operations}
    assert parts["scores"] == parts["softmax"] == 3
    assert parts["attention x V"] == parts["qkv"] == 1


def test_sites_are_the_quantized_tensors():
    workload = traced("deit_t")
    block = [site for site in workload.sites if 1 <= site.operation <= 9]
    tokens = 197 * 192
    assert [(site.elements, site.fixed) for site in block] == [
        (tokens, False), (tokens, False), (tokens, False), (3 * 197 * 197, True), (tokens, False),
        (tokens, False), (tokens, False), (4 * tokens, False)]
    assert len(workload.sites) == 12 * 8 + 1


@pytest.mark.parametrize(("name", "block", "last"), [
    ("deit_t", "blocks.0", "blocks.0.mlp.fc2"),
    ("swin_t", "layers.0.blocks.0", "layers.0.blocks.0.mlp.fc2"),
    ("mixer_s16_224", "blocks.0", "blocks.0.mlp_channels.fc2")])
def test_tap_is_the_end_of_the_first_block(name, block, last):
    workload = traced(name)
    assert workload.first_block == block
    assert workload.operations[workload.tap].name == last


def test_tap_of_a_single_layer_is_that_layer():
    assert made_of(product(2, 3, 4)).tap == 0


def test_what_depends_on_weights_alone_does_not_count():
    model = toy(Forward(lambda m, x: m.head(x.flatten(1)) @ m.second.weight,
                        head=nn.Linear(192, 4), second=nn.Linear(5, 4)))
    model.second.weight = nn.Parameter(model.second.weight)
    constant = toy(Forward(lambda m, x: m.head(x.flatten(1)) @ torch.relu(m.second.weight @
                                                                          m.second.weight.T),
                           head=nn.Linear(192, 4), second=nn.Linear(5, 4)))
    assert trace(model, "toy").macs == 192 * 4 + 4 * 5
    assert trace(constant, "toy").macs == 192 * 4 + 4 * 4


def test_weights_on_the_left_are_still_weights():
    model = toy(Forward(lambda m, x: m.first.weight @ x[0, 0], first=nn.Linear(8, 5)))
    op, = trace(model, "toy").products
    assert (op.shape, op.right, op.left) == ((8, 8, 5), (), (IMAGE,))


def test_grouped_convolution_is_a_product_per_group():
    model = toy(Forward(lambda m, x: m.conv(x), conv=nn.Conv2d(3, 6, 3, padding=1, groups=3)))
    op, = trace(model, "toy").products
    assert (op.shape, op.count, op.left_elements) == ((64, 9, 2), 3, 192)


def test_constants_per_channel_are_folded_and_others_are_not():
    def function(m, x):
        x = m.norm(m.conv(x)) * 2
        return x + m.bias[:, None, None] + m.positions

    model = toy(Forward(function, conv=nn.Conv2d(3, 6, 1), norm=nn.BatchNorm2d(6)))
    model.bias = nn.Parameter(torch.empty(6, device="meta"))
    model.positions = nn.Parameter(torch.empty(6, 8, 8, device="meta"))
    op, = trace(model, "toy").operations
    assert op.pointwise == [("add", 6 * 64)]


def test_fused_attention_is_taken_apart():
    def function(m, x):
        x = m.first(x.flatten(2)).reshape(1, 3, 4, 2)
        return nn.functional.scaled_dot_product_attention(x, x, x)

    workload = trace(toy(Forward(function, first=nn.Linear(64, 8))), "toy")
    assert [(op.role, op.shape) for op in workload.operations[1:]] == [
        ("scores", (4, 2, 4)), ("softmax", (12, 4)), ("attention x V", (4, 4, 2))]
    assert workload.products[1].count == 3


def test_residual_is_read_where_it_is_added():
    def function(m, x):
        x = m.first(x.flatten(2))
        return x + m.second(x)

    workload = trace(toy(Forward(function, first=nn.Linear(64, 8), second=nn.Linear(8, 8))), "toy")
    second = workload.operations[1]
    assert (second.reads, second.left, second.extra) == ((0,), (0,), ())
    assert second.pointwise == [("add", 24)]
    assert second.wide


def test_head_is_what_the_model_calls_its_classifier():
    model = toy(Forward(lambda m, x: m.out(m.first(x.flatten(1))), first=nn.Linear(192, 4),
                        out=nn.Linear(4, 2)), classifier="out")
    assert [op.role for op in trace(model, "toy").products] == [PATCH, HEAD]


@pytest.mark.parametrize(("function", "message"), [
    (lambda m, x: torch.fft.fft2(m.conv(x)).real,
     "cannot estimate toy: the model uses aten._fft_c2c, which the accelerator has no operation"),
    (lambda m, x: m.up(m.conv(x)), "up is a transposed convolution"),
    (lambda m, x: m.conv(x) if x.sum().item() else x, "cannot trace toy at its input: "),
    (lambda m, x: x * 2, "cannot estimate toy: it has no matrix products")])
def test_refuses_what_cannot_be_mapped(function, message):
    model = toy(Forward(function, conv=nn.Conv2d(3, 6, 1), up=nn.ConvTranspose2d(6, 6, 2)))
    with pytest.raises(UserError, match=message) as error:
        trace(model, "toy")
    assert "\n" not in str(error.value)


def test_hooks_are_removed():
    model = toy(Forward(lambda m, x: m.conv(x), conv=nn.Conv2d(3, 6, 1)))
    trace(model, "toy")
    assert not model.conv._forward_hooks
    assert not model.conv._forward_pre_hooks


def test_vector_without_products_around_has_a_shape():
    op = Vector(name="norm", role="layer norm", reads=(), elements=6, rows=2, length=3)
    assert op.shape == (2, 3)
    assert not isinstance(op, Product)
