// The codec of a type, compiled from its schema value once: `compile(type)`. Messages and values go through the fast
// reader and writer, which notice that something is wrong; the reference codec then goes over them again and says what,
// and where.

import { InternalError } from "@fidelity/units";
import { BARE_LIMITS, BareError, BareReader, BareWriter } from "../bare-io.ts";
import type { BareLimits } from "../bare-io.ts";
import type { BareType, Typed } from "../schema/ast.ts";
import { analyse } from "./analysis.ts";
import type { Analysis } from "./analysis.ts";
import { compileReader } from "./compile-reader.ts";
import { compileWriter } from "./compile-writer.ts";
import { closeInput, Input, openInput } from "./input.ts";
import { closeOutput, finishOutput, openOutput, Output } from "./output.ts";
import { readValue, writeValue } from "./reference.ts";
import type { Read } from "./struct-readers.ts";
import type { Write } from "./struct-writers.ts";

// Decoding runs nothing of the program's, so one input serves all. Encoding may run getters, which may encode.
const sharedInput = new Input();
const sharedOutput = new Output();

/** Encodes and decodes the values of one type. */
export class Codec<T> {
  readonly type: Typed<T>;
  readonly #analysis: Analysis;
  readonly #read: Read<T>;
  readonly #write: Write;

  /** Throws `SchemaError` for a type that no message can have. */
  constructor(type: Typed<T>) {
    this.type = type;
    this.#analysis = analyse(type);
    this.#read = compileReader(type, this.#analysis) as Read<T>;
    this.#write = compileWriter(type, this.#analysis);
  }

  /**
   * Encodes one value. The bytes may share their buffer, of up to 8 MiB, with other messages and with memory that is
   * not cleared, as those of Node's `Buffer` do; `slice()` gives a copy whose buffer is its own, to be kept for long
   * or transferred. Throws `BareError`, with the path, where the value does not fit its type.
   */
  encode(value: T, limits: BareLimits = BARE_LIMITS): Uint8Array<ArrayBuffer> {
    const output = sharedOutput.isBusy ? new Output() : sharedOutput;
    openOutput(output, limits);
    try {
      this.#write(output, value as never);
      return finishOutput(output);
    } catch (error) {
      throw this.#whyNotWritten(value, limits, error);
    } finally {
      closeOutput(output);
    }
  }

  /**
   * Encodes one value to the start of `target` and returns its size in bytes. Throws `BareError` where the value does
   * not fit its type, or `target`; what `target` then holds is not specified.
   */
  encodeInto(value: T, target: Uint8Array, limits: BareLimits = BARE_LIMITS): number {
    const output = new Output(target);
    const within = { ...limits, sizeBytesMax: Math.min(limits.sizeBytesMax, target.length) };
    openOutput(output, within);
    try {
      this.#write(output, value as never);
      return output.offset;
    } catch (error) {
      throw this.#whyNotWritten(value, within, error);
    }
  }

  /**
   * Decodes exactly one value from all of `bytes`. Nothing of it lies in `bytes`; in Node, a short string may keep 512
   * bytes of text alive that stood beside it. Throws `BareError`, with the offset, on anything not canonical.
   */
  decode(bytes: Uint8Array, limits: BareLimits = BARE_LIMITS): T {
    const input = sharedInput;
    if (bytes.length > limits.sizeBytesMax) throw this.#whyNotRead(bytes, limits, undefined);
    openInput(input, bytes, limits.depthMax);
    try {
      const value = this.#read(input);
      if (input.offset === input.end) return value;
    } catch (error) {
      throw this.#whyNotRead(bytes, limits, error);
    } finally {
      closeInput(input);
    }
    throw this.#whyNotRead(bytes, limits, undefined);
  }

  #whyNotRead(bytes: Uint8Array, limits: BareLimits, cause: unknown): Error {
    return explain(cause, () => {
      const reader = new BareReader(bytes, limits);
      readValue(this.type, reader, this.#analysis);
      reader.end();
    });
  }

  #whyNotWritten(value: T, limits: BareLimits, cause: unknown): Error {
    return explain(cause, () => writeValue(this.type, new BareWriter(limits), value, this.#analysis));
  }
}

// What the reference codec finds; if it finds nothing, one of the two is wrong, or the program's own getters are.
function explain(cause: unknown, again: () => void): Error {
  try {
    again();
  } catch (error) {
    if (error instanceof BareError) return error;
    if (error instanceof RangeError && /call stack/.test(error.message)) {
      return new BareError("a value is nested too deeply for the stack", 0, "", "a smaller depthMax");
    }
    return error as Error;
  }
  return new InternalError("a value was rejected without a reason", {
    hint: "if the value has getters, they give another value each time; otherwise please report it",
    cause,
  });
}

const codecs = new WeakMap<BareType, Codec<unknown>>();

/** The codec of a type: compiled at the first call, the same one at later calls. */
export function compile<T>(type: Typed<T>): Codec<T> {
  const known = codecs.get(type);
  // A codec stands under the type that it was made from.
  if (known !== undefined) return known as Codec<T>;
  const codec = new Codec(type);
  codecs.set(type, codec as Codec<unknown>);
  return codec;
}
