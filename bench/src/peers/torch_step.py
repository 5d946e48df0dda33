"""The training steps of the bench in PyTorch: the peer of the suite `training`, which asks this process for samples.

Usage: torch_step.py THREADS. Prints one JSON object a line. The first says what runs: {"torch", "blas", "parameters"},
where blas is "openblas SKYLAKEX", with the processor that it took for this one, or "other". Then, for each line `MODEL STEPS` on standard input, it takes so many steps and
prints {"tokensPerSecond"}; it ends with its input. Models are `transformer`, `matmul-free` (autograd through a Python
loop over time) and `matmul-free-hand` (with a hand-written backward of the recurrence).

Run with OPENBLAS_CORETYPE set to the processor's family and OPENBLAS_NUM_THREADS=1: torch threads the work itself, and
is several times slower otherwise.
"""
import ctypes
import json
import math
import sys
import time

import torch
import torch.nn.functional as F

WIDTH, LAYERS, CONTEXT, BATCH, VOCABULARY, HEADS = 128, 4, 128, 16, 256, 4


class RMSNorm(torch.nn.Module):
    def __init__(self, width, weight=True, eps=1e-5):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(width)) if weight else None
        self.eps = eps

    def forward(self, x):
        y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)
        return y if self.weight is None else y * self.weight


class BitLinear(torch.nn.Module):
    """RMSNorm, int8 activations, ternary weights, straight-through (arXiv 2406.02528)."""

    def __init__(self, inputs, outputs, std=0.02):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(outputs, inputs) * std)

    def forward(self, x):
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-8)
        s = 127 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
        x = x + ((x * s).round().clamp(-128, 127) / s - x).detach()
        w = self.weight
        g = w.abs().mean().clamp(min=1e-5)
        w = w + ((w / g).round().clamp(-1, 1) * g - w).detach()
        return F.linear(x, w)


class Recurrence(torch.autograd.Function):
    """h_t = f_t h_{t-1} + i_t over axis 1, with its adjoint written out."""

    @staticmethod
    def forward(ctx, f, i):
        h = torch.empty_like(i)
        state = torch.zeros_like(i[:, 0])
        for t in range(i.shape[1]):
            state = torch.addcmul(i[:, t], f[:, t], state)
            h[:, t] = state
        ctx.save_for_backward(f, h)
        return h

    @staticmethod
    def backward(ctx, grad):
        f, h = ctx.saved_tensors
        di = torch.empty_like(grad)
        carry = torch.zeros_like(grad[:, 0])
        for t in range(grad.shape[1] - 1, -1, -1):
            carry = grad[:, t] + carry
            di[:, t] = carry
            carry = carry * f[:, t]
        df = torch.zeros_like(f)
        df[:, 1:] = di[:, 1:] * h[:, :-1]
        return df, di


def plain_recurrence(f, i):
    state = torch.zeros_like(i[:, 0])
    states = []
    for t in range(i.shape[1]):
        state = f[:, t] * state + i[:, t]
        states.append(state)
    return torch.stack(states, 1)


class MatMulFreeBlock(torch.nn.Module):
    def __init__(self, hidden, recurrence):
        super().__init__()
        self.recurrence = recurrence
        self.mixer_norm, self.channel_norm, self.gate_norm = RMSNorm(WIDTH), RMSNorm(WIDTH), RMSNorm(WIDTH)
        self.forget, self.candidate, self.gate = (BitLinear(WIDTH, WIDTH) for _ in range(3))
        self.output = BitLinear(WIDTH, WIDTH)
        self.up, self.gate2, self.down = BitLinear(WIDTH, hidden), BitLinear(WIDTH, hidden), BitLinear(hidden, WIDTH)

    def forward(self, x, bound):
        y = self.mixer_norm(x)
        f = bound + (1 - bound) * torch.sigmoid(self.forget(y))
        h = self.recurrence(f, F.silu(self.candidate(y)) * (1 - f))
        x = x + self.output(self.gate_norm(self.gate(y)) * F.silu(h))
        y = self.channel_norm(x)
        return x + self.down(F.silu(self.gate2(y)) * self.up(y))


class MatMulFreeLM(torch.nn.Module):
    def __init__(self, recurrence, hidden=512):
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCABULARY, WIDTH)
        self.bounds = torch.nn.Parameter(torch.zeros(LAYERS, WIDTH))
        self.blocks = torch.nn.ModuleList(MatMulFreeBlock(hidden, recurrence) for _ in range(LAYERS))
        self.norm = RMSNorm(WIDTH)
        self.head = torch.nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, tokens):
        x = self.embedding(tokens)
        bounds = torch.cumsum(torch.softmax(self.bounds, 0), 0)
        for layer, block in enumerate(self.blocks):
            x = block(x, bounds[layer - 1] if layer > 0 else torch.zeros(WIDTH))
        return self.head(self.norm(x))


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.output = (torch.nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        size = WIDTH // HEADS
        angles = torch.outer(torch.arange(CONTEXT), 10000.0 ** (-torch.arange(0, size, 2) / size))
        self.register_buffer("cos", angles.cos()[None, None])
        self.register_buffer("sin", angles.sin()[None, None])
        self.register_buffer("mask", torch.full((CONTEXT, CONTEXT), -math.inf).triu(1))

    def rotate(self, x):
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack((a * self.cos - b * self.sin, a * self.sin + b * self.cos), -1).flatten(-2)

    def forward(self, x):
        shape = (x.shape[0], x.shape[1], HEADS, WIDTH // HEADS)
        q, k, v = (f(x).view(shape).transpose(1, 2) for f in (self.query, self.key, self.value))
        q, k = self.rotate(q), self.rotate(k)
        p = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(shape[-1]) + self.mask, -1)
        return self.output((p @ v).transpose(1, 2).reshape(x.shape))


class TransformerBlock(torch.nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.norm1, self.norm2, self.attention = RMSNorm(WIDTH), RMSNorm(WIDTH), Attention()
        self.gate, self.up = torch.nn.Linear(WIDTH, hidden, bias=False), torch.nn.Linear(WIDTH, hidden, bias=False)
        self.down = torch.nn.Linear(hidden, WIDTH, bias=False)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Transformer(torch.nn.Module):
    def __init__(self, hidden=344):
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = torch.nn.ModuleList(TransformerBlock(hidden) for _ in range(LAYERS))
        self.norm = RMSNorm(WIDTH)
        self.head = torch.nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, tokens):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Training:
    """A model, its optimiser and one batch that it is trained on again and again."""

    def __init__(self, model):
        self.model = model
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
        self.tokens = torch.randint(0, VOCABULARY, (BATCH, CONTEXT + 1))

    def step(self):
        self.optimiser.zero_grad(set_to_none=True)
        logits = self.model(self.tokens[:, :-1])
        F.cross_entropy(logits.reshape(-1, VOCABULARY), self.tokens[:, 1:].reshape(-1)).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()

    def rate(self, steps):
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        return steps * BATCH * CONTEXT / (time.perf_counter() - start)


def loaded_blas():
    """Debian's libtorch calls whatever libblas.so.3 is: OpenBLAS, or the reference one, which is ten times slower."""
    try:
        with open("/proc/self/maps") as maps:
            libraries = [line.split()[-1] for line in maps if "openblas" in line]
        if not libraries:
            return "other"
        core_name = ctypes.CDLL(libraries[0]).openblas_get_corename
        core_name.restype = ctypes.c_char_p
        return "openblas " + core_name().decode()
    except (OSError, AttributeError):
        return "other"


def main():
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(1)
    trainings = {
        "matmul-free": Training(MatMulFreeLM(plain_recurrence)),
        "matmul-free-hand": Training(MatMulFreeLM(Recurrence.apply)),
        "transformer": Training(Transformer()),
    }
    parameters = {name: sum(p.numel() for p in t.model.parameters()) for name, t in trainings.items()}
    print(json.dumps({"torch": torch.__version__, "blas": loaded_blas(), "parameters": parameters}), flush=True)
    for line in sys.stdin:
        name, steps = line.split()
        print(json.dumps({"tokensPerSecond": trainings[name].rate(int(steps))}), flush=True)


if __name__ == "__main__":
    main()
