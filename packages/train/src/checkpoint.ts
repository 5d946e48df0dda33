// Checkpoints: float32 masters, the optimiser's moments and the step, in one container that is written whole or not at
// all. Batches depend on seed and step alone and AdamW on nothing but what is saved, so a run that goes on from a
// checkpoint computes what it would have computed without the stop, bit for bit.
//
// The file before the last is kept as a second name of the same bytes, so that a disk that damages one leaves another.

import { copyFileSync, existsSync, linkSync, rmSync } from "node:fs";
import { ContainerError } from "@fidelity/barewire";
import type { ContainerHeader, Metadata } from "@fidelity/barewire";
import { readContainerHeader, toFileError, writeContainerFile } from "@fidelity/barewire/node";
import type { OpenContainer } from "@fidelity/barewire/node";
import type { DeviceTensor } from "@fidelity/core";
import { createModel } from "@fidelity/models";
import type { DeviceParameters, Model, PlainConfig, Tokenizer, TokenizerSpec } from "@fidelity/models";
import { ModelFileError } from "@fidelity/run";
import { componentsOf, copyTensor, OPTIMIZER_PREFIX, tensorInput, versions, withContainer } from "@fidelity/run/node";
import { isTask } from "./data/index.ts";
import type { TrainingData } from "./data/index.ts";
import { ResumeMismatchError } from "./errors.ts";
import { FORMER_SETTINGS, trainSettings } from "./settings.ts";
import type { TrainSettings } from "./settings.ts";

/** Everything that must be the same for a run to go on. Plain JSON. */
export interface RunIdentity {
  readonly model: PlainConfig;
  readonly tokenizer: TokenizerSpec;
  /** `tokenCount` is 0 for a task, whose sequences are made. */
  readonly data: { readonly fingerprint: string; readonly tokenCount: number };
  readonly settings: TrainSettings;
}

export function runIdentity(
  model: Model,
  tokenizer: Tokenizer,
  data: TrainingData,
  settings: TrainSettings,
): RunIdentity {
  const tokenCount = isTask(data) ? 0 : data.tokens.length;
  return {
    model: model.config,
    tokenizer: tokenizer.toJSON(),
    data: { fingerprint: data.fingerprint, tokenCount },
    settings,
  };
}

/** How far a run has come. */
export interface RunState {
  /** Steps done. */
  readonly step: number;
  /** Seconds of training so far. */
  readonly seconds: number;
  readonly loss: number | undefined;
  readonly validationLoss: number | undefined;
  readonly bestValidationLoss: number | undefined;
}

/** The tensors of a checkpoint. */
export interface RunTensors {
  readonly parameters: DeviceParameters;
  /** By name of the moment; may be left out when only the parameters are wanted. */
  readonly moments: ReadonlyMap<string, DeviceParameters>;
}

/**
 * Writes a checkpoint to `path` and keeps the one before as `previousPath`. When it fails, the old one is still at
 * `path`. Throws `FileError`.
 */
export function saveCheckpoint(
  path: string,
  previousPath: string,
  identity: RunIdentity,
  state: RunState,
  run: RunTensors,
): void {
  const tensors = namedTensors(run).map(([name, tensor]) => tensorInput(name, tensor));
  keepPrevious(path, previousPath);
  const { model, tokenizer, data, settings } = identity;
  writeContainerFile(path, {
    metadata: { ...versions(), kind: "checkpoint", ...stateMetadata(state) },
    config: { model, tokenizer, data, settings },
    components: componentsOf(tensors),
    tensors,
  });
}

/** How far the run of a checkpoint has come, read from its header. Throws as `loadCheckpoint` does. */
export function readCheckpointState(path: string, identity: RunIdentity): RunState {
  const header = readContainerHeader(path);
  requireSameRun(path, header, identity);
  return stateOf(path, header.metadata);
}

/**
 * Copies a checkpoint to the tensors of a run. Throws `ContainerError` when the file is damaged, `ModelFileError` when
 * it is no checkpoint, and `ResumeMismatchError` naming the first field in which it belongs to another run.
 */
export function loadCheckpoint(path: string, identity: RunIdentity, into: RunTensors): RunState {
  return withContainer(path, (container) => {
    requireSameRun(path, container.header, identity);
    return copyRun(path, container, into);
  });
}

/** Copies the tensors of a checkpoint, whatever run it belongs to. Throws `ContainerError` when the file is damaged. */
export function copyCheckpoint(path: string, into: RunTensors): RunState {
  return withContainer(path, (container) => copyRun(path, container, into));
}

function copyRun(path: string, container: OpenContainer, into: RunTensors): RunState {
  const state = stateOf(path, container.header.metadata);
  for (const [name, tensor] of namedTensors(into)) copyTensor(container, name, tensor);
  return state;
}

/**
 * The settings of the run that a checkpoint belongs to, checked; what a version without a setting left out is what it
 * did. Throws `FileError`, `ContainerError` and `TrainSettingError`.
 */
export function savedSettings(path: string): TrainSettings {
  const { config } = readContainerHeader(path);
  const settings = typeof config === "object" && config !== null && "settings" in config ? config.settings : {};
  return trainSettings({ ...FORMER_SETTINGS, ...(settings as TrainSettings) });
}

/**
 * The newest whole checkpoint of a run: the last one, or the one before where that is damaged, which `onDamage` hears
 * of. Undefined where there is none. Throws the damage when there is no other.
 */
export function findCheckpoint(
  path: string,
  previousPath: string,
  onDamage: (error: ContainerError) => void,
): string | undefined {
  if (!existsSync(path)) return existsSync(previousPath) ? previousPath : undefined;
  try {
    withContainer(path, () => undefined);
    return path;
  } catch (error) {
    if (!(error instanceof ContainerError) || !existsSync(previousPath)) throw error;
    onDamage(error);
    return previousPath;
  }
}

function namedTensors({ parameters, moments }: RunTensors): [name: string, tensor: DeviceTensor][] {
  const ofMoment = ([moment, tensors]: [string, DeviceParameters]): [string, DeviceTensor][] =>
    Array.from(tensors, ([path, tensor]) => [`${OPTIMIZER_PREFIX}${moment}.${path}`, tensor]);
  return [...parameters, ...Array.from(moments).flatMap(ofMoment)];
}

function keepPrevious(path: string, previousPath: string): void {
  try {
    if (!existsSync(path)) return;
    // Renaming over a second name of the same file does nothing, so the old name goes first.
    rmSync(previousPath, { force: true });
    try {
      linkSync(path, previousPath);
    } catch {
      copyFileSync(path, previousPath); // a file system without links
    }
  } catch (error) {
    throw toFileError(error, "write", previousPath);
  }
}

function stateMetadata({ step, seconds, loss, validationLoss, bestValidationLoss }: RunState): Metadata {
  const losses = { loss, validationLoss, bestValidationLoss };
  const known = Object.entries(losses).filter((entry): entry is [string, number] => entry[1] !== undefined);
  return { step, seconds, ...Object.fromEntries(known) };
}

function stateOf(path: string, metadata: Metadata): RunState {
  const { step, seconds } = metadata;
  const optional = (name: string): number | undefined => {
    const value = metadata[name];
    return typeof value === "number" ? value : undefined;
  };
  if (typeof step !== "number" || !Number.isSafeInteger(step) || step < 0 || typeof seconds !== "number") {
    throw new ModelFileError("a checkpoint does not say how far its run has come", {
      where: path,
      expected: "metadata with a step and seconds",
      got: `step ${String(step)}, seconds ${String(seconds)}`,
    });
  }
  const [loss, validationLoss, bestValidationLoss] = ["loss", "validationLoss", "bestValidationLoss"].map(optional);
  return { step, seconds, loss, validationLoss, bestValidationLoss };
}

function requireSameRun(path: string, { metadata, config }: ContainerHeader, wanted: RunIdentity): void {
  if (metadata["kind"] !== "checkpoint" || typeof config !== "object" || config === null) {
    throw new ModelFileError("the file is a model and no checkpoint", {
      where: path,
      expected: "a checkpoint, which has the state of the optimiser",
      hint: "move the file away to start the run from the beginning",
    });
  }
  const saved = config as Partial<Record<keyof RunIdentity, unknown>>;
  compare("the vocabulary", path, saved.tokenizer, wanted.tokenizer);
  compareFields("data", path, saved.data, wanted.data);
  // What an older version did not know is what it had: the defaults of an architecture, and the settings of then.
  compareFields("model", path, createModel(saved.model).config, wanted.model);
  compareFields("settings", path, { ...FORMER_SETTINGS, ...(saved.settings as object) }, wanted.settings);
}

function compareFields(group: string, path: string, saved: unknown, wanted: object): void {
  const before = new Map<string, unknown>(typeof saved === "object" && saved !== null ? Object.entries(saved) : []);
  const now = new Map<string, unknown>(Object.entries(wanted));
  for (const name of new Set([...before.keys(), ...now.keys()])) {
    compare(`${group}.${name}`, path, before.get(name), now.get(name));
  }
}

function compare(field: string, path: string, saved: unknown, wanted: unknown): void {
  if (JSON.stringify(saved) !== JSON.stringify(wanted)) throw new ResumeMismatchError(field, path, saved, wanted);
}
