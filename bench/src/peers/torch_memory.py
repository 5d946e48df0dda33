"""The most memory that PyTorch takes to train the MatMul-free LM: the peer of the suite `memory`.

Usage: torch_memory.py WIDTH LAYERS CONTEXT HIDDEN KIND, with KIND `plain` or `hand` (see torch_step.py). Takes two
steps on one sequence and prints {"torch", "peakBytes"}: the highest resident size less that before the model was made.
"""
import json
import sys

import torch

import torch_step


def resident(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))


def main():
    width, layers, context, hidden = (int(text) for text in sys.argv[1:5])
    torch_step.WIDTH, torch_step.LAYERS, torch_step.CONTEXT, torch_step.BATCH = width, layers, context, 1
    torch.set_num_threads(1)
    recurrence = torch_step.plain_recurrence if sys.argv[5] == "plain" else torch_step.Recurrence.apply
    torch.ones(64, 64) @ torch.ones(64, 64)  # what the libraries take for themselves
    before = resident("VmRSS")
    training = torch_step.Training(torch_step.MatMulFreeLM(recurrence, hidden))
    training.step()
    training.step()
    print(json.dumps({"torch": torch.__version__, "peakBytes": resident("VmHWM") - before}))


main()
