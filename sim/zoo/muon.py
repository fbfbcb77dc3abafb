"""Muon, the optimizer of the matrices of a Vision Transformer's blocks."""

import math

import torch


def _orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Return about the nearest semi-orthogonal matrices; ``[n, r, c]`` with ``r <= c``.

    Five steps of the Newton-Schulz iteration of Muon (Jordan et al., 2024).
    """
    x = matrices.bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return x.float()


class Muon:
    """Muon for the matrices of the blocks: steps of equal length in all directions."""

    def __init__(self, model: torch.nn.Module, *, decay: float, momentum: float = 0.95):
        self._decay, self._momentum = decay, momentum
        width = model.embed_dim
        attentions = [block.attn for block in model.blocks]
        self._groups = (
            [(layer.weight, False) for attention in attentions
             for layer in (attention.qkv, attention.proj)],
            [(layer.weight, wide) for block in model.blocks
             for layer, wide in ((block.mlp.fc1, True), (block.mlp.fc2, False))],
        )
        hidden = model.blocks[0].mlp.fc1.out_features
        self._shapes = (width, width), (width, hidden)
        self.buffers = [torch.zeros(sum(self._count(p, shape) for p, _ in group), *shape)
                        for group, shape in zip(self._groups, self._shapes, strict=True)]

    @staticmethod
    def _count(parameter: torch.Tensor, shape: tuple[int, int]) -> int:
        return parameter.numel() // math.prod(shape)

    def parameters(self) -> list[torch.nn.Parameter]:
        """Return the parameters that are stepped here."""
        return [parameter for group in self._groups for parameter, _ in group]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the parameters from their gradients."""
        for group, shape, buffer in zip(self._groups, self._shapes, self.buffers, strict=True):
            gradients = torch.cat([(p.grad.T if turned else p.grad).reshape(-1, *shape)
                                   for p, turned in group])
            buffer.lerp_(gradients, 1 - self._momentum)
            steps = _orthogonal(gradients.lerp_(buffer, self._momentum))
            counts = [self._count(p, shape) for p, _ in group]
            for (p, turned), change in zip(group, steps.split(counts), strict=True):
                if turned:
                    change = change[0].T * math.sqrt(p.shape[0] / p.shape[1])
                p.mul_(1 - rate * self._decay).add_(change.reshape(p.shape), alpha=-rate)
