// What is measured of one setting, each in a process of its own: the memory that a step of one form takes, and times
// and losses of the forms side by side.

import { createDevice } from "@fidelity/alex/node";
import type { Head, Setting } from "./model.ts";
import { FORMS, StudyStep } from "./step.ts";
import type { Form } from "./step.ts";

/** A setting with a name, and how many rounds its forms are timed for. */
export interface Case {
  readonly name: string;
  readonly setting: Setting;
  readonly rounds: number;
}

function caseOf(head: Head, vocabSize: number, batchSize: number, rounds: number): Case {
  const setting: Setting = { head, vocabSize, width: 64, batchSize, contextLength: 32, negatives: 512 };
  const softmax = { sampled: "sampled softmax", full: "softmax", tied: "tied softmax" }[head];
  return { name: `${softmax}, ${vocabSize / 1024}k, ${batchSize * 32} tokens`, setting, rounds };
}

export const CASES: readonly Case[] = [
  caseOf("sampled", 32_768, 16, 200),
  caseOf("sampled", 131_072, 16, 20),
  caseOf("full", 32_768, 1, 20),
  caseOf("tied", 32_768, 1, 20),
  caseOf("full", 32_768, 16, 8),
  caseOf("tied", 32_768, 16, 8),
];

/** The memory of one form, in bytes. */
export interface Memory {
  readonly parameters: number;
  readonly gradients: number;
  /** What the memory plan gives to all that is between parameters and results. */
  readonly arena: number;
  /** How much the process grew by in its first steps, with parameters and moments written before. */
  readonly resident: number;
}

export async function measureMemory(index: number, form: Form, seed: number): Promise<Memory> {
  const device = createDevice();
  // Threads and the engine take memory with the first program that runs.
  const { setting } = CASES[index];
  const small = await StudyStep.compile(device, { ...setting, vocabSize: 512, batchSize: 1, negatives: 8 }, form);
  const step = await StudyStep.compile(device, setting, form);
  for (let i = 0; i < 100; i++) await small.run();
  small.free();
  step.start(seed);
  const before = process.memoryUsage.rss();
  for (let i = 0; i < 3; i++) await step.run();
  const resident = process.memoryUsage.rss() - before;
  const { parameterBytes, gradientBytes, executable } = step;
  const memory = { parameters: parameterBytes, gradients: gradientBytes, arena: executable.arenaBytes, resident };
  step.free();
  await device.close();
  return memory;
}

/** Milliseconds and losses of each step, by form; step i of all forms ran in round i. */
export type Courses = Readonly<Record<Form, { readonly milliseconds: number[]; readonly losses: number[] }>>;

/** Rounds in which each form takes a step on the same batch, in an order that rotates. The first two are left out. */
export async function measureCourses(index: number, seed: number): Promise<Courses> {
  const { setting, rounds } = CASES[index];
  const device = createDevice();
  const steps = new Map<Form, StudyStep>();
  for (const form of FORMS) {
    const step = await StudyStep.compile(device, setting, form);
    step.start(seed);
    steps.set(form, step);
  }
  const courses: Courses = {
    dense: { milliseconds: [], losses: [] },
    exact: { milliseconds: [], losses: [] },
    lazy: { milliseconds: [], losses: [] },
  };
  for (let round = 0; round < rounds + 2; round++) {
    for (let i = 0; i < FORMS.length; i++) {
      const form = FORMS[(i + round) % FORMS.length];
      const { loss, milliseconds } = await steps.get(form)!.run();
      if (round < 2) continue;
      courses[form].milliseconds.push(milliseconds);
      courses[form].losses.push(loss);
    }
  }
  for (const step of steps.values()) step.free();
  await device.close();
  return courses;
}
