// The race with made-up times and a made-up clock, what there is to tune in programs, and books of schedules.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BareError } from "@fidelity/barewire";
import { linearRecurrence, matmul, softmax, tensorType, trace } from "@fidelity/core";
import type { Graph, Schedule } from "@fidelity/core";
import { randomHost, seededRandom } from "@fidelity/core/testing";
import { compileStages } from "../compile.ts";
import { explainProgram } from "../explain/explain.ts";
import { formatExplanation } from "../explain/text.ts";
import { runCompiled } from "../testing.ts";
import { ScheduleBook, scheduleText } from "./schedule-book.ts";
import { nodeTitle, tuneTasks } from "./tasks.ts";
import type { TuneTask } from "./tasks.ts";
import { tune } from "./tune.ts";
import type { Contest } from "./tune.ts";

const TARGET = { lanes: 4, joinsVectors: true } as const;

/** Two equal products and one of another shape, with a softmax between. */
function products(): Graph {
  const types = [tensorType("f32", [72, 40]), tensorType("f32", [40, 40]), tensorType("f32", [40, 33])] as const;
  return trace("products", (x, square, last) => matmul(softmax(matmul(matmul(x, square), square)), last), types).graph;
}

const stagesOf = (schedules?: ScheduleBook) => {
  return compileStages(products(), { target: TARGET, ...(schedules !== undefined && { schedules }) });
};

/** A task with schedules that take these times, and a record of what was measured. */
function contestOf(seconds: readonly number[]) {
  const sampled: number[] = [];
  let closed = 0;
  const [some] = tuneTasks([stagesOf()]);
  const task: TuneTask = { ...some, candidates: seconds.map((_, number): Schedule => ({ number })) };
  const contest: Contest = {
    sample(candidate) {
      sampled.push(candidate);
      return seconds[candidate];
    },
    close: () => void closed++,
  };
  return { task, sampled, closedCount: () => closed, open: () => Promise.resolve(contest) };
}

test("the fastest schedule wins, and those far behind are not measured for long", async () => {
  const { task, sampled, open, closedCount } = contestOf([1, 0.99, 0.8, 1.6, 0.81]);
  const results = await tune([task], { open, budgetMs: 1e9, now: () => 0 });
  assert.deepEqual(results, [{ task, schedule: "number 2", speedup: 1.25 }]);
  const counts = [0, 1, 2, 3, 4].map((candidate) => sampled.filter((one) => one === candidate).length);
  assert.equal(counts[0], counts[2], "the default runs in every round");
  assert.ok(counts[3] < counts[1] && counts[1] < counts[2], `${counts.join(" ")} samples`);
  // Every round begins with another one.
  assert.deepEqual(sampled.slice(0, 10), [0, 1, 2, 3, 4, 1, 2, 3, 4, 0]);
  assert.equal(closedCount(), 1);
});

test("what is not clearly faster than the default does not take its place", async () => {
  const { task, open } = contestOf([1, 0.985, 0.99]);
  assert.deepEqual(await tune([task], { open, budgetMs: 1e9, now: () => 0 }), [
    { task, schedule: "number 0", speedup: 1 },
  ]);
});

test("a schedule that is faster only now and then stays behind", async () => {
  const { task } = contestOf([1, 1]);
  const seen = [0, 0];
  // In three of five rounds it takes half the time, and in the others twice as long.
  const sample = (candidate: number): number => {
    const round = seen[candidate]++;
    return candidate === 0 ? 1 : round % 5 < 3 ? 0.5 : 1.4;
  };
  const open = () => Promise.resolve({ sample, close: () => undefined });
  const [{ schedule }] = await tune([task], { open, budgetMs: 1e9, now: () => 0 });
  assert.equal(schedule, "number 0");
});

test("drift of the machine does not decide: rounds are compared, not times", async () => {
  const { task } = contestOf([1, 1, 1]);
  let clock = 0;
  // The machine slows down all the time; schedule 1 is faster by a tenth throughout.
  const sample = (candidate: number): number => (candidate === 1 ? 0.9 : 1) * (1 + clock++ / 1000);
  const open = () => Promise.resolve({ sample, close: () => undefined });
  const [{ schedule }] = await tune([task], { open, budgetMs: 1e9, now: () => 0 });
  assert.equal(schedule, "number 1");
});

test("when the time is over, or somebody asks, what was found is given", async () => {
  const { task, open, closedCount } = contestOf([1, 0.5]);
  let now = 0;
  const told: number[] = [];
  const onResult = (_: unknown, place: number): void => void told.push(place);
  const within = await tune([task, task, task], { open, budgetMs: 100, now: () => (now += 4), onResult });
  assert.ok(within.length > 0 && within.length < 3);
  assert.deepEqual(told, [...within.keys()]);
  const stop = new AbortController();
  const open2 = () => {
    if (told.length === 0) stop.abort();
    told.length = 0;
    return open();
  };
  const asked = await tune([task, task, task], { open: open2, budgetMs: 1e9, now: () => 0, signal: stop.signal });
  assert.equal(asked.length, 1, "the second one was stopped before there was anything to tell");
  assert.ok(closedCount() > 2);
});

test("a program's tasks are its nodes with a choice, each once and the heaviest first", () => {
  const tasks = tuneTasks([stagesOf()]);
  assert.deepEqual(
    tasks.map(({ node }) => nodeTitle(node)),
    ["matmul f32[72, 40] f32[40, 40]", "matmul f32[72, 40] f32[40, 33]"],
  );
  assert.ok(tasks[0].work > 1.9 * tasks[1].work, "two products of the first kind");
  assert.ok(tasks.every(({ candidates, isTuned }) => candidates.length > 1 && !isTuned));
});

test("a remembered schedule is followed, and an explanation says so", () => {
  const book = new ScheduleBook();
  const [{ text, candidates }] = tuneTasks([stagesOf()]);
  book.set(text, { schedule: scheduleText(candidates[3]), speedup: 1.5 });
  const tuned = stagesOf(book);
  const { schedules } = explainProgram(tuned);
  assert.deepEqual(
    schedules.map(({ count, isTuned, schedule }) => ({ count, isTuned, schedule })),
    [
      { count: 2, isTuned: true, schedule: scheduleText(candidates[3]) },
      { count: 1, isTuned: false, schedule: scheduleText(tuneTasks([tuned])[1].candidates[0]) },
    ],
  );
  assert.notDeepEqual(tuned.program.kernels, stagesOf().program.kernels);
  const text2 = formatExplanation(explainProgram(tuned));
  assert.match(text2, /matmul f32\[72, 40\] f32\[40, 40\] +2 x {2}tuned +of \d+ {2}chunkColumns \d+, chunkRows/);
  assert.match(text2, /f32\[40, 33\] +1 x {2}default/);
});

test("a book is read as it was written; schedules that no op lists are never followed", () => {
  const book = new ScheduleBook();
  const [{ text, candidates }] = tuneTasks([stagesOf()]);
  book.set(text, { schedule: "chunkRows 0", speedup: 9 });
  book.set("another", { schedule: scheduleText(candidates[1]), speedup: 1.25 });
  const read = ScheduleBook.decode(book.encode());
  assert.equal(read.size, 2);
  assert.equal(read.find("another", candidates), 1);
  assert.equal(read.find(text, candidates), undefined);
  assert.equal(read.find("a third", candidates), undefined);
  assert.deepEqual(read.encode(), book.encode());
  assert.throws(() => ScheduleBook.decode(book.encode().subarray(0, -1)), BareError);
});

const sequence = tensorType("f32", [2, 5, 600]);
const FIXED_BITS: readonly (readonly [name: string, graph: Graph])[] = [
  [
    "a product over several blocks of the inner dimension",
    trace("product", (a, b) => matmul(a, b, { transposeB: true }), [
      tensorType("f32", [75, 300]),
      tensorType("f32", [53, 300]),
    ]).graph,
  ],
  [
    "a recurrence of several blocks of channels",
    trace("recurrence", linearRecurrence, [sequence, sequence, tensorType("f32", [2, 600])]).graph,
  ],
];

for (const [name, graph] of FIXED_BITS) {
  test(`no schedule changes a bit of ${name}`, () => {
    const [{ candidates }] = tuneTasks([compileStages(graph, { target: TARGET })]);
    assert.ok(candidates.length > 1);
    const inputs = graph.parameters.map(({ type }, i) => randomHost(type, seededRandom(i)));
    const resultBy = (schedule: number): unknown => {
      return runCompiled(graph, inputs, { joinsVectors: true, schedules: { find: () => schedule } })[0].data;
    };
    const first = resultBy(0);
    candidates.forEach((candidate, i) => assert.deepEqual(resultBy(i), first, scheduleText(candidate)));
  });
}
