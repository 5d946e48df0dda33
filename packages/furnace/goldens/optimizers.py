"""Makes optimizers.json: parameters after each of some steps of PyTorch's optimisers, in float64.

Run with PyTorch 1.13.1 (Debian 12: apt-get install python3-torch): python3 optimizers.py > optimizers.json
"""

import json
import math

import torch

torch.set_default_dtype(torch.float64)
STEPS = 6


def start():
    matrix = torch.tensor([[0.5, -1.25, 2.0], [0.125, 3.0, -0.75]], requires_grad=True)
    vector = torch.tensor([1.0, -0.5], requires_grad=True)
    return [matrix, vector]


def gradients(step):
    """Plain numbers that a reader can make again: sines at fixed places, of very different sizes."""
    matrix = [[math.sin(1 + 3 * i + j + 7 * step) * 10.0 ** (j - 1) for j in range(3)] for i in range(2)]
    vector = [math.cos(i + 5 * step) for i in range(2)]
    return [torch.tensor(matrix), torch.tensor(vector)]


def record(make, rates):
    parameters = start()
    optimizer = make(parameters)
    rows = []
    for step in range(STEPS):
        for parameter, gradient in zip(parameters, gradients(step)):
            parameter.grad = gradient
        for group in optimizer.param_groups:
            group["lr"] = rates[step]
        optimizer.step()
        rows.append([p.detach().flatten().tolist() for p in parameters])
    return rows


def decay_matrices_only(parameters):
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)


rates = [0.01, 0.02, 0.03, 0.02, 0.01, 0.005]
clipped = gradients(0)
for value in clipped:
    value.requires_grad_(True)
    value.grad = value.detach().clone()
norm = torch.nn.utils.clip_grad_norm_(clipped, 0.5)

print(json.dumps({
    "torch": torch.__version__,
    "start": [p.detach().flatten().tolist() for p in start()],
    "gradients": [[g.flatten().tolist() for g in gradients(step)] for step in range(STEPS)],
    "rates": rates,
    "adamw": record(decay_matrices_only, rates),
    "sgd": record(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), rates),
    "nesterov": record(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), rates),
    "clip": {"max": 0.5, "norm": norm.item(), "gradients": [p.grad.flatten().tolist() for p in clipped]},
}, indent=1))
