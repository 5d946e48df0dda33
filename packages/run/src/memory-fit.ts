// What a model takes in memory before anything of it is loaded, beside what this machine has left.

import { memoryReachBytes } from "@fidelity/alex";
import type { CacheDtype } from "@fidelity/core";
import { flattenTree, isBlocked, isTensorType, storageBytes } from "@fidelity/core";
import { namedParameters, poolBytes } from "@fidelity/models";
import type { Model } from "@fidelity/models";
import { formatBytes } from "@fidelity/units";
import { batchSettings } from "./batch.ts";
import { OutOfRoomError } from "./errors.ts";
import { freeBytes } from "./free-memory.ts";
import type { LanguageModelOptions } from "./language-model.ts";
import { CAPACITY_MIN } from "./session-pool.ts";
import { loadedDtype } from "./foreign-parameters.ts";
import type { StoredAs } from "./foreign-parameters.ts";

/** Tokens to make room for where a model allows more. */
const CAPACITY_MAX = 4096;

/** One tensor of a model's state. */
export interface StateTensor {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly sizeBytes: number;
}

export interface MemoryFit {
  /** Packed where the file has packed or ternary weights, narrow where those stay so, float32 elsewhere. */
  readonly parameterBytes: number;
  /** Tokens that the state below has room for; null where it does not grow. */
  readonly capacity: number | null;
  readonly state: readonly StateTensor[];
  readonly stateBytes: number;
  /** What each further token adds to the state. */
  readonly bytesPerToken: number;
  readonly availableBytes: number;
  /** What the target's code reaches, however much there is. */
  readonly reachBytes: number;
  readonly fits: boolean;
}

/** A model in a file. */
export interface StoredModel {
  readonly path: string;
  readonly model: Model;
  /** How each parameter is stored. */
  readonly tensors: readonly (StoredAs & { readonly name: string })[];
}

/** What one sequence of a model takes on a target. Nothing is allocated. */
export function memoryFit(
  { model, tensors }: Omit<StoredModel, "path">,
  target: string,
  cacheDtype?: CacheDtype,
): MemoryFit {
  const stored = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  let parameterBytes = 0;
  for (const { path, leaf } of namedParameters(model.parameters)) {
    parameterBytes += storageBytes({ dtype: loadedDtype(leaf, stored.get(path), target), shape: leaf.shape });
  }
  const capacity = model.contextLimit === null ? null : Math.min(model.contextLimit, CAPACITY_MAX);
  const state = stateOf(model, capacity ?? 1, cacheDtype);
  const stateBytes = sumBytes(state);
  const bytesPerToken = sumBytes(stateOf(model, (capacity ?? 1) + 1, cacheDtype)) - stateBytes;
  // All that a model computes with lies in one memory.
  const reachBytes = memoryReachBytes(target);
  const availableBytes = Math.min(freeBytes(), reachBytes);
  const fits = parameterBytes + stateBytes <= availableBytes;
  return { parameterBytes, capacity, state, stateBytes, bytesPerToken, availableBytes, reachBytes, fits };
}

function stateOf(model: Model, capacity: number, cacheDtype: CacheDtype | undefined): StateTensor[] {
  return flattenTree(model.stateTypes({ batch: 1, capacity, cacheDtype }), isTensorType).map(({ path, leaf }) => {
    return { name: path, dtype: leaf.dtype, shape: leaf.shape, sizeBytes: storageBytes(leaf) };
  });
}

function sumBytes(state: readonly StateTensor[]): number {
  return state.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

/** The fit in a sentence. */
export function describeFit(fit: MemoryFit): string {
  const limit = fit.availableBytes === fit.reachBytes ? "the target reaches" : "free here are";
  return `${describeNeed(fit)}; ${limit} ${formatBytes(fit.availableBytes)}: ${fit.fits ? "fits" : "does not fit"}`;
}

function describeNeed({ parameterBytes, capacity, stateBytes }: MemoryFit): string {
  const room = capacity === null ? "its state" : `a state of ${capacity.toLocaleString("en-US")} tokens`;
  const parts = `weights ${formatBytes(parameterBytes)}, ${room} ${formatBytes(stateBytes)}`;
  return `${formatBytes(parameterBytes + stateBytes)}: ${parts}`;
}

/** Throws `OutOfRoomError` before anything of a model is read, where its weights alone do not fit. */
export function requireRoom(info: StoredModel, target: string): void {
  const fit = memoryFit(info, target);
  if (fit.parameterBytes <= fit.availableBytes) return;
  const reaches = fit.availableBytes === fit.reachBytes;
  const nativeBytes = memoryReachBytes("native");
  throw new OutOfRoomError("the model needs more memory than there is", {
    where: info.path,
    expected: `at most ${formatBytes(fit.availableBytes)}, ${reaches ? `what ${target} reaches` : "what is free here"}`,
    got: describeNeed(fit),
    hint:
      reaches && target === "wasm"
        ? `use --target native, which reaches ${formatBytes(nativeBytes)}, or a file with narrower weights`
        : "take a smaller model, or a file with weights in ternary, q4_0, q4_k or q8_0, which stay as they are",
  });
}

/**
 * Throws `OutOfRoomError` where weights in blocks have no room for the same numbers in float32 beside them, which is
 * what `exactActivations` takes.
 */
export function requireExpandedRoom(info: StoredModel, target: string): void {
  const { parameterBytes, availableBytes } = memoryFit(info, target);
  const stored = new Map(info.tensors.map((tensor) => [tensor.name, tensor]));
  const expandedBytes = namedParameters(info.model.parameters)
    .filter(({ path, leaf }) => isBlocked(loadedDtype(leaf, stored.get(path), target)))
    .reduce((sum, { leaf }) => sum + storageBytes({ dtype: "f32", shape: leaf.shape }), 0);
  if (parameterBytes + expandedBytes <= availableBytes) return;
  throw new OutOfRoomError("the weights in float32 need more memory than there is", {
    where: info.path,
    expected: `at most ${formatBytes(availableBytes)}`,
    got: `${formatBytes(parameterBytes)} as they are, ${formatBytes(expandedBytes)} more in float32`,
    hint: "let products round activations: exactActivations: false, or --rounded-activations",
  });
}

/**
 * Throws `OutOfRoomError` where the weights and a state of `capacity` tokens need more memory than is free, with the
 * capacity that would fit if there is one. Where several generations are to share steps the room for them counts, too.
 */
export function requireRoomFor(
  info: StoredModel,
  target: string,
  capacity: number,
  { parallel = 1, cacheDtype }: Pick<LanguageModelOptions, "parallel" | "cacheDtype"> = {},
): void {
  const fit = memoryFit(info, target, cacheDtype);
  const { parameterBytes, stateBytes, bytesPerToken, availableBytes } = fit;
  const tokens = Math.min(capacity, info.model.contextLimit ?? capacity);
  const neededBytes = parameterBytes + stateBytes + bytesPerToken * (tokens - (fit.capacity ?? tokens));
  const limit = info.model.contextLimit === null ? undefined : tokens;
  const sharedBytes = parallel > 1 ? poolBytes(info.model, batchSettings(parallel, limit, cacheDtype)) : 0;
  if (neededBytes + sharedBytes <= availableBytes) return;
  if (neededBytes <= availableBytes) {
    throw new OutOfRoomError(`needs ${formatBytes(neededBytes + sharedBytes)}, have ${formatBytes(availableBytes)}`, {
      where: info.path,
      got: `weights ${formatBytes(parameterBytes)}, ${parallel} generations at a time ${formatBytes(sharedBytes)}`,
      hint: "open it for fewer at a time: parallel: 2, or parallel: 1, by which they take turns; or with less context",
    });
  }
  requireRoom(info, target);
  const free = availableBytes - parameterBytes - stateBytes + bytesPerToken * (fit.capacity ?? 0);
  const most = bytesPerToken > 0 ? Math.floor(free / bytesPerToken) : 0;
  throw new OutOfRoomError(`needs ${formatBytes(neededBytes)}, have ${formatBytes(availableBytes)}`, {
    where: info.path,
    got: `weights ${formatBytes(parameterBytes)}, ${tokens} tokens ${formatBytes(neededBytes - parameterBytes)}`,
    hint: most >= 1 ? `give it room for at most ${most} tokens: --context ${most}` : "take a smaller model",
  });
}

/**
 * Throws as `requireRoomFor` where the weights have no room, nor the context or as many generations at a time as were
 * asked for.
 */
export function requirePlan(info: StoredModel, target: string, options: LanguageModelOptions): void {
  const { context, parallel } = options;
  if ((context ?? parallel) === undefined) requireRoom(info, target);
  else requireRoomFor(info, target, context ?? CAPACITY_MIN, options);
}
