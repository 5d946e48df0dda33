"""Makes ops.json: values and gradients of 200 configurations of ops as PyTorch computes them, in float64.

Run with PyTorch 1.13.1 (Debian 12: apt-get install python3-torch): python3 ops.py > ops.json

Every input is made by a small generator that the test has too, so that only results are stored. The gradient is that of
sum(result * w) with w_i = cos(i + 1), which tells transposed and permuted results apart.
"""

import json
import math

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
configs = []


def numbers(seed, count, low, high):
    """Numbers from low to high: the top bits of a linear congruential generator modulo 2^32 (Numerical Recipes)."""
    state, made = seed, []
    for _ in range(count):
        state = (1664525 * state + 1013904223) % 2**32
        made.append(low + (high - low) * ((state >> 8) / 2**24))
    return made


def make(seed, shape, low, high):
    values = numbers(seed, math.prod(shape), low, high)
    return torch.tensor(values).reshape(shape)


def config(op, shapes, run, attrs=None, ranges=None, ids=None):
    """Records one configuration: `run` takes the float inputs, then the integer ones."""
    seed = 1 + 17 * len(configs)
    ranges = ranges or [(-2, 2)] * len(shapes)
    inputs = [make(seed + i, s, *r).requires_grad_() for i, (s, r) in enumerate(zip(shapes, ranges))]
    integers = [torch.tensor(values) for values in (ids or [])]
    value = run(*inputs, *integers)
    weights = torch.cos(torch.arange(1, value.numel() + 1, dtype=torch.float64)).reshape(value.shape)
    gradients = torch.autograd.grad((value * weights).sum(), inputs, allow_unused=True)
    flat = [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, gradients)]
    configs.append(
        {
            "op": op,
            "attrs": attrs or {},
            "seed": seed,
            "inputs": [{"shape": list(s), "range": list(r)} for s, r in zip(shapes, ranges)],
            "ids": ids or [],
            "shape": list(value.shape),
            "value": value.detach().flatten().tolist(),
            "gradients": [g.flatten().tolist() for g in flat],
        }
    )


def elementwise():
    anywhere, positive = (-2.5, 2.5), (0.2, 3)
    unary = {
        "abs": (torch.abs, anywhere),
        "cos": (torch.cos, anywhere),
        "exp": (torch.exp, anywhere),
        "gelu": (lambda x: F.gelu(x, approximate="tanh"), anywhere),
        "log": (torch.log, positive),
        "neg": (torch.neg, anywhere),
        "relu": (torch.relu, anywhere),
        "rsqrt": (torch.rsqrt, positive),
        "sigmoid": (torch.sigmoid, anywhere),
        "silu": (F.silu, anywhere),
        "sin": (torch.sin, anywhere),
        "softplus": (F.softplus, anywhere),
        "sqrt": (torch.sqrt, positive),
        "square": (torch.square, anywhere),
        "tanh": (torch.tanh, anywhere),
    }
    for op, (run, span) in unary.items():
        for shape in [(5,), (2, 3), (2, 1, 2)]:
            config(op, [shape], run, ranges=[span])
    binary = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "max": torch.maximum, "min": torch.minimum}
    for op, run in binary.items():
        for a, b in [((4,), (4,)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2, 2))]:
            config(op, [a, b], run)
    for a, b in [((4,), (4,)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((3,), ())]:
        config("div", [a, b], torch.div, ranges=[anywhere, positive])
    for exponent in [2, 3, -1, 0.5, -0.5, 1.7, -2.3]:
        config("pow", [(5,)], lambda x, e=exponent: torch.pow(x, e), {"exponent": exponent}, [positive])
    for threshold in [-0.5, 0.5]:
        run = lambda x, y, t=threshold: torch.where(x < t, x, y)
        config("select", [(2, 4), (2, 4)], run, {"threshold": threshold})


def reductions():
    for op, run in {"reduceSum": torch.sum, "mean": torch.mean, "reduceMax": torch.amax}.items():
        for shape, axes, keep in [((4,), [0], False), ((2, 3), [0], False), ((2, 3), [1], True), ((2, 3, 2), [0, 2], False)]:
            config(op, [shape], lambda x, a=axes, k=keep, f=run: f(x, dim=a, keepdim=k), {"axes": axes, "keepDims": keep})
    for op, run in {"softmax": F.softmax, "logSoftmax": F.log_softmax}.items():
        for shape in [(5,), (2, 4), (2, 2, 3)]:
            config(op, [shape], lambda x, f=run: f(x, dim=-1))
    for rows, classes, targets in [(3, 4, [0, 3, 1]), (1, 6, [5]), (4, 2, [1, 1, 0, 1])]:
        run = lambda x, t: F.cross_entropy(x, t, reduction="none")
        config("crossEntropy", [(rows, classes)], run, ids=[targets])
    for epsilon in [1e-6, 1e-2]:
        norm = lambda x, e=epsilon: x * torch.rsqrt((x * x).mean(-1, keepdim=True) + e)
        config("rmsNorm", [(2, 5)], norm, {"epsilon": epsilon})
        config("rmsNorm", [(3, 4), (4,)], lambda x, w, n=norm: n(x) * w, {"epsilon": epsilon})


def layout():
    for shape, order in [((2, 3), [1, 0]), ((2, 3, 2), [2, 0, 1]), ((2, 1, 3), [0, 2, 1])]:
        config("transpose", [shape], lambda x, o=order: x.permute(o), {"permutation": order})
    for shape, to in [((2, 3), [6]), ((4,), [2, 2]), ((2, 3, 2), [3, 4])]:
        config("reshape", [shape], lambda x, t=to: x.reshape(t), {"shape": to})
    for shape, to in [((3,), [2, 3]), ((2, 1), [2, 4]), ((1, 3, 1), [2, 3, 2])]:
        config("broadcastTo", [shape], lambda x, t=to: x.expand(t), {"shape": to})
    for axis, shapes in [(0, [(2, 3), (1, 3)]), (1, [(2, 2), (2, 3)]), (-1, [(2, 1, 2), (2, 1, 1)])]:
        config("concat", shapes, lambda a, b, d=axis: torch.cat([a, b], dim=d), {"axis": axis})
    for axis, start, stop, shape in [(0, 1, 3, (4,)), (1, 0, 2, (2, 3)), (-1, 1, 2, (2, 2, 3))]:
        cut = lambda x, d=axis, a=start, b=stop: x.narrow(d, a, b - a)
        config("sliceAxis", [shape], cut, {"axis": axis, "start": start, "stop": stop})
    for shape, before, after in [((3,), [1], [2]), ((2, 2), [0, 1], [1, 0])]:
        pads = [n for b, a in reversed(list(zip(before, after))) for n in (b, a)]
        config("pad", [shape], lambda x, p=pads: F.pad(x, p), {"before": before, "after": after})
    for rows, columns, ids in [(4, 3, [0, 2, 2, 1]), (3, 2, [2]), (5, 1, [4, 4, 4])]:
        config("gather", [(rows, columns)], lambda x, i: x[i], ids=[ids])
    for count, columns, ids, rows in [(4, 3, [0, 2, 2, 1], 4), (3, 2, [1, 1, 1], 2)]:
        add = lambda x, i, r=rows, c=columns: torch.zeros(r, c).index_add(0, i, x)
        config("scatterAdd", [(count, columns)], add, {"rows": rows}, ids=[ids])
    for shape, down in [((6,), False), ((2, 4), True), ((3, 3), False)]:
        run = lambda x, d=down: torch.sort(x, dim=-1, descending=d).values
        config("sort", [shape], run, {"descending": down})
    for count in [1, 3]:
        config("topK", [(2, 5)], lambda x, c=count: torch.topk(x, c, dim=-1).values, {"count": count})


def products():
    for a, b in [((2, 3), (3, 4)), ((1, 5), (5, 1)), ((2, 2, 3), (3, 2)), ((2, 2, 3), (2, 3, 2)), ((3, 1, 2), (3, 2, 4)), ((4, 1), (1, 3)), ((1, 4), (4, 4)), ((3, 3), (3, 1))]:
        config("matmul", [a, b], torch.matmul)
    for a, b in [((2, 3), (4, 3)), ((2, 2, 3), (4, 3)), ((2, 2, 3), (2, 4, 3))]:
        config("matmul", [a, b], lambda x, y: x @ y.transpose(-1, -2), {"transposeB": True})
    for a, b in [((3, 2), (3, 4)), ((2, 3, 2), (2, 3, 4))]:
        config("matmul", [a, b], lambda x, y: x.transpose(-1, -2) @ y, {"transposeA": True})


def recurrence(f, x, h):
    states = []
    for t in range(x.shape[1]):
        h = f[:, t] * h + x[:, t]
        states.append(h)
    return torch.stack(states, 1)


def rotate(x, theta, pairing, position):
    size = x.shape[-1]
    angles = torch.arange(position, position + x.shape[1], dtype=torch.float64)[:, None] * theta ** (
        -torch.arange(0, size, 2, dtype=torch.float64) / size
    )
    cos, sin = angles.cos()[None, :, None], angles.sin()[None, :, None]
    if pairing == "adjacent":
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)
    a, b = x[..., : size // 2], x[..., size // 2 :]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def attend(q, k, v, position):
    group = q.shape[2] // k.shape[2]
    k, v = k.repeat_interleave(group, 2), v.repeat_interleave(group, 2)
    scores = torch.einsum("bthd,bshd->bhts", q, k) / math.sqrt(q.shape[-1])
    seen = torch.arange(k.shape[1])[None, :] <= torch.arange(q.shape[1])[:, None] + position
    return torch.einsum("bhts,bshd->bthd", scores.masked_fill(~seen, -math.inf).softmax(-1), v)


def sequences():
    for shape in [(1, 4, 2), (2, 3, 1), (1, 6, 3), (3, 1, 2), (1, 9, 1)]:
        state = (shape[0], shape[2])
        config("linearRecurrence", [shape, shape, state], recurrence, ranges=[(0, 1), (-2, 2), (-2, 2)])
    for pairing in ["adjacent", "halves"]:
        for theta, position in [(10000, 0), (100, 3), (50, 1)]:
            run = lambda x, t=theta, p=pairing, at=position: rotate(x, t, p, at)
            attrs = {"theta": theta, "pairing": pairing, "position": position}
            config("rope", [(1, 3, 2, 4)], run, attrs)
    for time, capacity, heads, key_heads, position in [(3, 3, 1, 1, 0), (2, 4, 2, 1, 2), (1, 3, 4, 2, 2), (3, 5, 2, 2, 1), (1, 6, 3, 1, 5), (4, 4, 2, 1, 0)]:
        run = lambda q, k, v, at=position: attend(q, k, v, at)
        kv = (1, capacity, key_heads, 4)
        config("attention", [(1, time, heads, 4), kv, kv], run, {"position": position})


def straight_through(x, quantized):
    return x + (quantized - x).detach()


def ternarized(w):
    scale = w.abs().mean()
    return straight_through(w, torch.clamp(torch.round(w / scale), -1, 1) * scale)


def quantized(x):
    scale = 127 / x.abs().amax(-1, keepdim=True)
    return straight_through(x, torch.clamp(torch.round(x * scale), -128, 127) / scale)


def quantisation():
    for shape in [(2, 3), (4, 2), (1, 6)]:
        config("ternarize", [shape], ternarized)
        config("quantizeActivations", [shape], quantized)
    for rows, inner, columns in [(2, 3, 4), (1, 5, 2)]:
        config("bitLinear", [(rows, inner), (columns, inner)], lambda x, w: quantized(x) @ ternarized(w).T)


def updates():
    for axis, start, size, shape in [(0, 1, 2, (4, 2)), (1, 0, 2, (2, 3))]:
        cut = lambda x, d=axis, a=start, n=size: x.narrow(d, a, n)
        config("dynamicSlice", [shape], cut, {"axis": axis, "start": start, "size": size})
    for axis, start, shape, part in [(0, 1, (4, 2), (2, 2)), (1, 2, (2, 3), (2, 1))]:
        put = lambda x, y, d=axis, a=start: torch.cat(
            [x.narrow(d, 0, a), y, x.narrow(d, a + y.shape[d], x.shape[d] - a - y.shape[d])], d
        )
        config("dynamicUpdateSlice", [shape, part], put, {"axis": axis, "start": start})


def linear_algebra():
    definite = lambda a: a @ a.transpose(-1, -2) + 2 * torch.eye(a.shape[-1])
    dominant = lambda a: a + 4 * torch.eye(a.shape[-1])
    for n in [1, 2, 3, 4]:
        config("cholesky", [(n, n)], lambda a: torch.linalg.cholesky(definite(a)))
        config("inverse", [(n, n)], lambda a: torch.linalg.inv(dominant(a)))
        config("logdet", [(n, n)], lambda a: torch.logdet(definite(a)))
        config("eigenvalues", [(n, n)], lambda a: torch.linalg.eigvalsh(definite(a)))
        config("solve", [(n, n), (n, 2)], lambda a, b: torch.linalg.solve(dominant(a), b))
    for rows, columns in [(2, 2), (3, 2), (4, 3)]:
        config("singularValues", [(rows, columns)], torch.linalg.svdvals)
        config("qrProduct", [(rows, columns)], lambda a: torch.linalg.qr(a)[1].abs())
    for n, lower in [(2, True), (3, False)]:
        run = lambda a, b, low=lower: torch.linalg.solve_triangular(dominant(a), b, upper=not low)
        config("triangularSolve", [(n, n), (n, 2)], run, {"lower": lower})


for group in [elementwise, reductions, layout, updates, products, sequences, quantisation, linear_algebra]:
    group()
print("[\n" + ",\n".join(json.dumps(c) for c in configs) + "\n]")
