// Reads a header forwards and refuses what cannot be: every size is held against the bytes that are left in the file
// before anything is taken or allocated. The bytes may be only the start of the file; where they end before the file
// does, `MoreBytesNeeded` says so and the caller comes back with more.

import { FileSizeError, FormatError, InvalidHeaderError } from "./errors.ts";

const QUOTED_LENGTH_MAX = 100;

/** A name from a file for a message: in quotation marks, control characters escaped, cut where it is long. */
export function quote(name: string): string {
  return name.length > QUOTED_LENGTH_MAX
    ? `${escaped(JSON.stringify(name.slice(0, QUOTED_LENGTH_MAX)))}...`
    : escaped(JSON.stringify(name));
}

/** What a file has in JSON, or an engine's words about it, for a message: escaped and cut as `quote` does. */
export function show(value: unknown): string {
  const text = value instanceof Error ? value.message : (JSON.stringify(value) ?? "nothing");
  return escaped(text.length > QUOTED_LENGTH_MAX ? `${text.slice(0, QUOTED_LENGTH_MAX)}...` : text);
}

/** Text without control characters, of which JSON leaves some as they are. */
function escaped(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** The bytes given are a part of the file, and the header goes on after them. */
export class MoreBytesNeeded extends FormatError {
  readonly sizeBytes: number;

  constructor(fileName: string, sizeBytes: number) {
    super("the header goes on after the bytes that were read", { where: fileName, expected: `${sizeBytes} bytes` });
    this.sizeBytes = sizeBytes;
  }
}

export class ByteCursor {
  readonly fileName: string;
  readonly fileSizeBytes: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  #offset = 0;

  /** @param bytes the file or its start */
  constructor(bytes: Uint8Array, fileName: string, fileSizeBytes = bytes.byteLength) {
    this.fileName = fileName;
    this.fileSizeBytes = fileSizeBytes;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get offset(): number {
    return this.#offset;
  }

  get leftBytes(): number {
    return this.fileSizeBytes - this.#offset;
  }

  /** Refuses what the header says at `offset`. */
  refuse(summary: string, expected: string, got: string, offset: number): never {
    throw new InvalidHeaderError(`${this.fileName} ${summary}`, {
      where: `${this.fileName}, byte ${offset}`,
      expected,
      got,
      hint: "fetch the file again, or write it again with the program that made it",
    });
  }

  /** Passes over `sizeBytes` and gives where they began. Throws `FileSizeError` where the file ends before. */
  skip(sizeBytes: number, what: string): number {
    const start = this.#offset;
    if (sizeBytes > this.leftBytes) {
      throw new FileSizeError(`${this.fileName} ends inside of ${what}`, {
        where: `${this.fileName}, byte ${start}`,
        expected: `${sizeBytes} bytes for ${what}`,
        got: `${this.leftBytes} bytes up to the end of the file`,
        hint: "fetch the file again: it was cut short, or is damaged",
      });
    }
    if (start + sizeBytes > this.#bytes.byteLength) throw new MoreBytesNeeded(this.fileName, start + sizeBytes);
    this.#offset = start + sizeBytes;
    return start;
  }

  u32(what: string): number {
    return this.#view.getUint32(this.skip(4, what), true);
  }

  /** A 64-bit size or count of at most `most`. */
  size(what: string, most: number): number {
    const at = this.skip(8, what);
    const value = this.#view.getBigUint64(at, true);
    if (value > BigInt(most)) this.refuse(`has an impossible ${what}`, `at most ${most}`, String(value), at);
    return Number(value);
  }

  /** The bytes from `start` to the cursor, as a view. */
  since(start: number): DataView {
    return new DataView(this.#bytes.buffer, this.#bytes.byteOffset + start, this.#offset - start);
  }

  /** A 64-bit length and as many bytes of UTF-8. */
  text(what: string, mostBytes: number): string {
    const sizeBytes = this.size(`length of ${what}`, mostBytes);
    const at = this.skip(sizeBytes, what);
    try {
      return this.#decoder.decode(new Uint8Array(this.#bytes.subarray(at, at + sizeBytes))); // a copy: it may be shared
    } catch {
      return this.refuse(`has ${what} that is not UTF-8`, "UTF-8", `${sizeBytes} bytes that are not`, at);
    }
  }
}
