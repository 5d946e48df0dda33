// What a training step costs, counted and not measured: operations after Kaplan et al. ("Scaling Laws for Neural
// Language Models", 2020, section 2.1), bytes from the compiled program.

import type { KernelCall, Program, ScheduleItem } from "@fidelity/core";
import { elementCount } from "@fidelity/core";
import { namedParameters } from "@fidelity/models";
import type { Model } from "@fidelity/models";

/** Operations of a training step by what computes them; a multiply-add is two. */
export interface StepOperations {
  /** Ternary weights times int8 activations, in the forward pass. */
  readonly ternary: number;
  /** Products in float32: the rest. */
  readonly dense: number;
  /** Scores and weighted sums of causal attention: half of the square, in both passes. */
  readonly attention: number;
}

/**
 * Each weight of a product takes two operations a token forward and four backward. Recurrences, norms and elementwise
 * operations are left out: they are bound by memory.
 */
export function stepOperations(model: Model, batchSize: number, contextLength: number): StepOperations {
  const tokens = batchSize * contextLength;
  const count = (role: string): number =>
    namedParameters(model.parameters)
      .filter(({ leaf }) => leaf.role === role)
      .reduce((sum, { leaf }) => sum + elementCount(leaf.shape), 0);
  const ternary = count("ternary");
  const isTied = model.config.tiedEmbeddings === true;
  const dense = count("dense") + (isTied ? count("embedding") : 0);
  const { headCount, dim, layerCount } = model.config;
  const attends = typeof headCount === "number";
  // Forward: q k^T and p v are each 2 x context x dim a token; causal halves them. Backward: twice as much.
  const attention = attends ? 3 * tokens * 2 * contextLength * Number(dim) * Number(layerCount) : 0;
  return { ternary: 2 * tokens * ternary, dense: tokens * (6 * dense + 4 * ternary), attention };
}

export function totalOperations({ ternary, dense, attention }: StepOperations): number {
  return ternary + dense + attention;
}

/**
 * Bytes that the kernels of a program pass through memory or caches in a run: the buffers of each call, each counted
 * once. Kernels that read a buffer more than once, as products do, move more.
 */
export function programBytes(program: Program): number {
  return itemsBytes(program, program.schedule);
}

function itemsBytes(program: Program, items: readonly ScheduleItem[]): number {
  return items.reduce((sum, item) => {
    if (item.kind === "loop") return sum + item.count * itemsBytes(program, item.items);
    return sum + item.calls.reduce((bytes, call) => bytes + callBytes(program, call), 0);
  }, 0);
}

function callBytes(program: Program, call: KernelCall): number {
  const buffers = new Set(call.args.map(({ buffer }) => buffer));
  return [...buffers].reduce((sum, buffer) => sum + program.buffers[buffer].sizeBytes, 0);
}
