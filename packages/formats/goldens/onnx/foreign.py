"""Small ONNX files as PyTorch's exporter writes them, for the tests of the reader.

Run with Debian's python3-torch (1.13.1): python3 packages/formats/goldens/onnx/foreign.py
Then `npm run goldens:onnx` (goldens.node.ts says how) writes what onnxruntime computes for them.
"""

import math
import os
import torch
from torch import nn
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 12), nn.LayerNorm(12), nn.Linear(12, 3))

    def forward(self, x):
        return F.log_softmax(self.layers(x), dim=-1)


class Encoder(nn.Module):
    """PyTorch's own encoder layers, with a padding mask."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 48, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.embedding = nn.Embedding(20, 32)

    def forward(self, tokens, padding):
        return self.layers(self.embedding(tokens), src_key_padding_mask=padding)


class Decoder(nn.Module):
    """A decoder whose shapes follow from its input: positions, a causal mask, rotary pairs, RMSNorm, SiLU."""

    def __init__(self, dim=24, heads=3, vocabulary=17):
        super().__init__()
        self.heads, self.size = heads, dim // heads
        self.embedding = nn.Embedding(vocabulary, dim)
        self.scale = nn.Parameter(torch.rand(dim) + 0.5)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.gate = nn.Linear(dim, 40, bias=False)
        self.up = nn.Linear(dim, 40, bias=False)
        self.down = nn.Linear(40, dim, bias=False)
        self.register_buffer("frequencies", 10000.0 ** (-torch.arange(0, self.size, 2).float() / self.size))

    def norm(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.scale

    def rotate(self, x, angles):
        cos, sin = torch.cat([angles.cos()] * 2, -1), torch.cat([angles.sin()] * 2, -1)
        half = x.shape[-1] // 2
        return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin

    def forward(self, tokens):
        batch, time = tokens.shape
        x = self.embedding(tokens)
        angles = torch.arange(time, device=tokens.device)[:, None] * self.frequencies[None, :]
        q, k, v = self.qkv(self.norm(x)).view(batch, time, 3, self.heads, self.size).permute(2, 0, 3, 1, 4).unbind(0)
        scores = self.rotate(q, angles) @ self.rotate(k, angles).transpose(-1, -2) / math.sqrt(q.size(-1))
        causal = torch.ones(time, time, dtype=torch.bool, device=tokens.device).tril()
        weights = scores.masked_fill(~causal, float("-inf")).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(batch, time, -1))
        h = self.norm(x)
        x = x + self.down(F.silu(self.gate(h)) * self.up(h))
        return x @ self.embedding.weight.t()


class Zoo(nn.Module):
    """Operators that the models above do not use."""

    def forward(self, x, y):
        a, b = x.split([2, 4], dim=1)
        values, places = torch.topk(x, 3, dim=1)
        clamped = x.clamp(-0.5, 0.5)
        spread = (x - x.mean(0, keepdim=True)).abs() + F.leaky_relu(y, 0.1) ** 2
        masked = torch.where(x > y, x, torch.zeros_like(y))
        sums = torch.cumsum(x, 1)
        flat = torch.cat([a.flatten(), b.flatten()]).unsqueeze(0)
        every = x[:, ::2] + x[:, 1::2].flip(1)
        best = x.argmax(1)
        norm = torch.logsumexp(y, 1) + y.norm(dim=1) + F.softplus(y).amin(1) + torch.erf(y).amax(1)
        tiled = y[:1].expand(4, -1).reshape(2, -1).repeat(1, 2)
        soft = torch.softmax(y, 0) + F.elu(y) + F.hardsigmoid(y) + torch.floor(3 * y) + torch.remainder(x, 0.3)
        return values, places, clamped, spread, masked, sums, flat, every, best, norm, tiled, soft


def export(name, module, inputs, opset, axes=None, names=None):
    torch.manual_seed(len(name))
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.25)
    # Not `eval`: its fused encoder layer cannot be exported. No layer here does anything else in training.
    path = os.path.join(HERE, name + ".onnx")
    names = names or ["x%d" % i for i in range(len(inputs))]
    torch.onnx.export(
        module, inputs, path, opset_version=opset, input_names=names, dynamic_axes=axes,
        training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
    )
    print(name, os.path.getsize(path))


torch.manual_seed(1)
tokens = torch.randint(0, 17, (2, 5))
export("mlp-11", Mlp(), (torch.rand(3, 6),), 11, {"x0": {0: "batch"}})
export("mlp-17", Mlp(), (torch.rand(3, 6),), 17, {"x0": {0: "batch"}})
padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
sizes = {0: "batch", 1: "time"}
export("encoder-14", Encoder(), (tokens, padding), 14, {"tokens": sizes, "padding": sizes}, ["tokens", "padding"])
export("decoder-17", Decoder(), (tokens,), 17, {"tokens": sizes}, ["tokens"])
export("zoo-13", Zoo(), (torch.randn(4, 6), torch.randn(4, 6)), 13)
