// The time of every call of a program, measured on a device: each runs as a program of its own over the tensors that
// the whole program was bound to, in the program's order, again and again. Calls that only differ in their tensors
// share one compiled program, so that a deep model is profiled as fast as a shallow one. What a run costs by itself is
// measured and taken off; calls too small to be shared among threads are repeated inside of a run, which their data
// being near flatters a little. So the parts add up to about the whole, not exactly.

import { buildKernel, storageBytes } from "@fidelity/core";
import type { DeviceTensor, KernelCall, Program, ScheduleItem, TensorType } from "@fidelity/core";
import { invariant } from "@fidelity/units";
import type { CpuDevice } from "../runtime/device.ts";
import type { CpuExecutable } from "../runtime/executable.ts";
import { RegionTensor } from "../runtime/tensor.ts";
import { expectedTurns } from "./explain.ts";

export interface ProfileOptions {
  /** Runs of the whole program, and of all of its calls; the median of each counts. */
  readonly rounds?: number;
}

/** What was measured. */
export interface Profile {
  readonly target: string;
  readonly threads: number;
  /** The median time of a run of the whole program. */
  readonly seconds: number;
  /** The median time of each call, in the program's order, with the iterations of the loops around it. */
  readonly callSeconds: readonly number[];
}

const ROUNDS = 9;
const SERIAL_REPEATS = 64;

/**
 * Profiles a program over tensors of `device` in the order of its binding slots, parameters and results; results that
 * are donated have the tensor of their parameter. The tensors' values change as they do when the program runs.
 */
export async function profileProgram(
  device: CpuDevice,
  program: Program,
  tensors: readonly DeviceTensor[],
  { rounds = ROUNDS }: ProfileOptions = {},
): Promise<Profile> {
  const bench = new ProfileBench(device, program, tensors);
  try {
    const calls = scheduledCalls(program.schedule, 1);
    const pieces = await Promise.all(calls.map((call) => bench.piece(call)));
    const idle = { serial: await bench.idle("serial"), parallel: await bench.idle("parallel") };
    const times = pieces.map(() => new Float64Array(rounds));
    const overheads = { serial: new Float64Array(rounds), parallel: new Float64Array(rounds) };
    for (let round = 0; round < rounds; round++) {
      for (const kind of KINDS) overheads[kind][round] = timeRun(idle[kind]);
      pieces.forEach(({ executable, parameters, kind }, i) => {
        executable.bind(parameters, []);
        // The team is awake in the middle of a program, and so it should be here.
        idle[kind].run();
        times[i]![round] = timeRun(executable);
      });
    }
    const callSeconds = pieces.map(({ kind, repeat }, i) => {
      const seconds = Math.max(0, median(times[i]!) - median(overheads[kind]));
      return (seconds / (kind === "serial" ? SERIAL_REPEATS : 1)) * repeat;
    });
    return { target: device.target, threads: device.threads, seconds: await bench.whole(rounds), callSeconds };
  } finally {
    bench.free();
  }
}

const KINDS = ["serial", "parallel"] as const;
type Kind = (typeof KINDS)[number];

interface ScheduledCall {
  readonly call: KernelCall;
  readonly kind: Kind;
  readonly repeat: number;
}

/** A call as a program of its own. */
interface Piece {
  readonly executable: CpuExecutable;
  readonly parameters: readonly DeviceTensor[];
  readonly kind: Kind;
  /** How often a run of the program makes the call. A run of the piece makes a serial one `SERIAL_REPEATS` times. */
  readonly repeat: number;
}

function scheduledCalls(items: readonly ScheduleItem[], repeat: number): ScheduledCall[] {
  return items.flatMap((item) => {
    if (item.kind === "loop") return scheduledCalls(item.items, repeat * expectedTurns(item));
    return item.calls.map((call) => ({ call, kind: item.kind, repeat }));
  });
}

/** The memory of a profile, and the programs that it runs. */
class ProfileBench {
  readonly #device: CpuDevice;
  readonly #program: Program;
  readonly #tensors: readonly DeviceTensor[];
  readonly #owned: { free(): void }[] = [];
  readonly #loaded = new Map<string, Promise<CpuExecutable>>();
  /** A tensor over the memory of each buffer of the program. */
  readonly #memory: readonly RegionTensor[];

  constructor(device: CpuDevice, program: Program, tensors: readonly DeviceTensor[]) {
    this.#device = device;
    this.#program = program;
    this.#tensors = tensors;
    const arena = this.#allocate(Math.max(2, program.arenaBytes));
    const constants = new Map(program.constants.map(({ buffer, bytes }) => [buffer, bytes]));
    this.#memory = program.buffers.map(({ placement, sizeBytes }, buffer) => {
      if (placement.kind === "arena") {
        return device.tensorAt(arena.region.sub(placement.offsetBytes, sizeBytes), cells(sizeBytes));
      }
      const bytes = constants.get(buffer);
      if (bytes !== undefined) {
        const constant = this.#allocate(sizeBytes);
        constant.bytes().set(bytes);
        return constant;
      }
      const bound = tensors[placement.slot];
      invariant(bound instanceof RegionTensor, `slot ${placement.slot} has a tensor of the device`);
      return device.tensorAt(bound.region, cells(sizeBytes));
    });
  }

  #allocate(sizeBytes: number): RegionTensor {
    const tensor = this.#device.tensor(cells(sizeBytes));
    this.#owned.push(tensor);
    return tensor;
  }

  async piece({ call, kind, repeat }: ScheduledCall): Promise<Piece> {
    const buffers = [...new Set(call.args.map(({ buffer }) => buffer))];
    const args = call.args.map(({ buffer, offsetBytes }) => ({ buffer: buffers.indexOf(buffer), offsetBytes }));
    const sizes = buffers.map((buffer) => this.#program.buffers[buffer]!.sizeBytes);
    const key = JSON.stringify([call.kernel, call.chunks, kind, args, sizes]);
    let loading = this.#loaded.get(key);
    if (loading === undefined) {
      const item: ScheduleItem = { kind, calls: [{ ...call, kernel: 0, args }] };
      const repeated: ScheduleItem = { kind: "loop", count: SERIAL_REPEATS, items: [item] };
      loading = this.#load(this.#program.kernels[call.kernel]!, sizes, kind === "serial" ? repeated : item);
      this.#loaded.set(key, loading);
    }
    const executable = await loading;
    const parameters = buffers.map((buffer) => this.#memory[buffer]!);
    executable.bind(parameters, []);
    executable.run();
    return { executable, parameters, kind, repeat };
  }

  async #load(kernel: Program["kernels"][number], sizes: readonly number[], item: ScheduleItem) {
    const program: Program = {
      name: kernel.name,
      kernels: [kernel],
      buffers: sizes.map((sizeBytes, slot) => {
        return { name: `buffer ${slot}`, sizeBytes, placement: { kind: "binding", slot } };
      }),
      bindingCount: sizes.length,
      arenaBytes: 0,
      scratchBytes: kernel.scratchBytes,
      schedule: [item],
      constants: [],
    };
    const executable = await this.#device.load(program, {
      parameterTypes: sizes.map(cells),
      resultTypes: [],
      donations: [],
    });
    this.#owned.push(executable);
    return executable;
  }

  /** A program that does nothing: what a run costs by itself. */
  async idle(kind: Kind): Promise<CpuExecutable> {
    const nothing = buildKernel("nothing", 0, () => undefined);
    const chunks = kind === "serial" ? 1 : this.#device.threads;
    const executable = await this.#load(nothing, [], { kind, calls: [{ kernel: 0, chunks, label: "", args: [] }] });
    executable.bind([], []);
    executable.run();
    return executable;
  }

  /** The median time of the whole program. */
  async whole(rounds: number): Promise<number> {
    const bound = this.#program.bindingCount - this.#program.constants.length;
    const parameters = this.#tensors.slice(0, bound);
    const sizes = parameters.map((tensor) => storageBytes(tensor.type));
    const executable = await this.#device.load(this.#program, {
      parameterTypes: sizes.map(cells),
      resultTypes: [],
      donations: [],
    });
    this.#owned.push(executable);
    executable.bind(
      parameters.map((tensor, i) => this.#device.tensorAt((tensor as RegionTensor).region, cells(sizes[i]!))),
      [],
    );
    executable.run();
    return median(Float64Array.from({ length: rounds }, () => timeRun(executable)));
  }

  free(): void {
    for (const owned of this.#owned.splice(0).reverse()) owned.free();
  }
}

/** The type of some bytes: the dtype with the smallest cells. */
function cells(sizeBytes: number): TensorType {
  return { dtype: "bf16", shape: [sizeBytes / 2] };
}

function timeRun(executable: CpuExecutable): number {
  const from = performance.now();
  executable.run();
  return (performance.now() - from) / 1000;
}

function median(values: Float64Array): number {
  return values.toSorted()[values.length >> 1]!;
}
