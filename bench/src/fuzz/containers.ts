// Hostile model containers. Every way of reading must give what the others give, or refuse it by a `ContainerError`:
// over the whole bytes, over the part that a header needs, over a source that fetches, and, now and then, in a file,
// mapped and read. What is read must be writable again.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect, isDeepStrictEqual } from "node:util";
import {
  ContainerError,
  containerMap,
  ContainerReader,
  containerToBytes,
  headerEndBytes,
  memorySource,
  readContainer,
  readHeader,
  readVersions,
  SharedArena,
  tensorBytes,
} from "@fidelity/barewire";
import type { ByteSource, ContainerHeader } from "@fidelity/barewire";
import { appendContainer, openContainer, readContainerHeader, readContainerVersions } from "@fidelity/barewire/node";
import { withinBytes } from "./allocation.ts";
import { damage, seedFiles } from "./container-files.ts";
import { pick, randomFor } from "./random.ts";
import type { Random } from "./random.ts";
import type { FuzzTarget } from "./target.ts";

/** One case in so many is also read through a source, in a file, and appended to. */
const SOURCE_EVERY = 16;
const FILE_EVERY = 256;
const APPEND_EVERY = 2048;
const PREFIX_BYTES = 8192;
/** What a byte of a file may cost in all ways of reading it together. */
const BYTES_PER_BYTE = 1024;
const MESSAGE_LENGTH_MAX = 10_000;

/** Model containers, which are read or refused. */
export const containers: FuzzTarget = {
  name: "containers",
  about: "damaged model files are refused by ContainerError, or read alike in every way",
  open(seed) {
    const files = seedFiles();
    const arena = SharedArena.create({ maximumBytes: 2 ** 26 });
    const folder = mkdtempSync(join(tmpdir(), "fuzz-"));
    return {
      async run(index) {
        const random = randomFor(seed, index);
        const bytes = damage(pick(random, files), pick(random, files), random);
        try {
          const word = withinBytes(BYTES_PER_BYTE * bytes.length, () => checkBytes(bytes, random));
          if (index % SOURCE_EVERY === 0) await checkSource(bytes, random);
          if (index % FILE_EVERY === 0) checkFile(bytes, join(folder, "file"), arena, index % APPEND_EVERY === 0);
          return word;
        } catch (error) {
          throw new Error(`a file of ${bytes.length} bytes`, { cause: error });
        }
      },
      close() {
        arena[Symbol.dispose]();
        rmSync(folder, { recursive: true });
      },
    };
  },
};

function checkBytes(bytes: Uint8Array, random: Random): string {
  const whole = outcome(() => readContainer(bytes));
  const header = outcome(() => readHeader(bytes));
  const versions = outcome(() => readVersions(bytes));
  if (!(whole instanceof ContainerError)) sameHeader(header, whole, "readHeader");
  checkPart(bytes, header);
  if (header instanceof ContainerError) {
    if (!(versions instanceof ContainerError)) throw new Error("versions are read where the newest is refused");
    return `refused: ${header.summary}`;
  }
  if (!(versions instanceof ContainerError)) {
    sameHeader(versions.at(-1)!, header, "readVersions");
    containerMap(versions); // versions that lie over each other are drawn so
  }
  if (header.fileSizeBytes > bytes.length) throw new Error("the file is longer than it is");
  if (whole instanceof ContainerError) return `header read, refused: ${whole.summary}`;
  if (random(4) === 0) checkWritable(bytes, header);
  return versions instanceof ContainerError ? `read, an older version refused: ${versions.summary}` : "read";
}

// A header is found in the bytes that `headerEndBytes` tells of.
function checkPart(bytes: Uint8Array, header: ContainerHeader | ContainerError): void {
  const end = outcome(() => headerEndBytes(bytes.subarray(0, PREFIX_BYTES), bytes.length));
  if (end instanceof ContainerError) {
    if (!(header instanceof ContainerError))
      throw new Error("the end of a header is refused that is read", { cause: end });
    return;
  }
  if (!Number.isSafeInteger(end)) {
    if (!(header instanceof ContainerError)) throw new Error(`a header ends at ${end}`);
    return;
  }
  const part = bytes.subarray(0, Math.max(end, Math.min(PREFIX_BYTES, bytes.length)));
  const again = outcome(() => readHeader(part, bytes.length));
  if (!(header instanceof ContainerError)) sameHeader(again, header, "readHeader of a part");
  else if (!(again instanceof ContainerError)) throw new Error("a part is read where the whole is refused");
}

function checkWritable(bytes: Uint8Array, header: ContainerHeader): void {
  const { metadata, config, components } = header;
  const tensors = header.tensors.map((entry) => ({ ...entry, bytes: tensorBytes(bytes, entry) }));
  const again = readContainer(containerToBytes({ metadata, config, components, tensors }));
  if (!isDeepStrictEqual(told(again), told(header))) {
    throw new Error(`it is written again as another: ${inspect(told(again))} for ${inspect(told(header))}`);
  }
}

// What a header says beside where things lie.
function told({ metadata, config, components, tensors }: ContainerHeader): unknown {
  // JSON says null for the infinity that JavaScript makes of 1e999.
  return [metadata, JSON.stringify(config), components, tensors.map((entry) => ({ ...entry, offset: 0 }))];
}

async function checkSource(bytes: Uint8Array, random: Random): Promise<void> {
  const memory = memorySource(bytes);
  const { name, sizeBytes, readInto } = memory;
  const source: ByteSource = random(2) === 0 ? memory : { name, sizeBytes, readInto };
  const header = outcome(() => readHeader(bytes));
  const whole = outcome(() => readContainer(bytes));
  const reader = await outcomeLater(ContainerReader.open(source));
  if (reader instanceof ContainerError) {
    if (!(header instanceof ContainerError)) throw new Error("a source is refused that is read", { cause: reader });
    return;
  }
  sameHeader(header, reader.header, "a source");
  await outcomeLater(reader.versions());
  const verified = await outcomeLater(reader.verify());
  const read = await outcomeLater(reader.read(reader.header.tensors.map((entry) => entry.name)));
  for (const result of [verified, read]) {
    if (result instanceof ContainerError !== whole instanceof ContainerError)
      throw new Error("a source reads otherwise");
  }
}

function checkFile(bytes: Uint8Array, path: string, arena: SharedArena, isAppended: boolean): void {
  writeFileSync(path, bytes);
  const header = outcome(() => readHeader(bytes));
  const whole = outcome(() => readContainer(bytes));
  const inFile = outcome(() => readContainerHeader(path));
  if (header instanceof ContainerError !== inFile instanceof ContainerError)
    throw new Error("a file is read otherwise");
  outcome(() => readContainerVersions(path));
  for (const how of ["mapped", "read"] as const) {
    const opened = outcome(() => openContainer(path, arena, { how }));
    if (opened instanceof ContainerError !== whole instanceof ContainerError) throw new Error(`${how}: read otherwise`);
    if (!(opened instanceof ContainerError)) opened[Symbol.dispose]();
  }
  if (!isAppended) return;
  const appended = outcome(() => appendContainer(path, { metadata: { more: true } }));
  if (appended instanceof ContainerError) return;
  const again = readContainerHeader(path);
  if (!isDeepStrictEqual([again.version, told(again)], [appended.version, told(appended)])) {
    throw new Error(`appended as another: ${inspect(again)} for ${inspect(appended)}`);
  }
}

function sameHeader(found: ContainerHeader | ContainerError, expected: ContainerHeader, where: string): void {
  if (found instanceof ContainerError) throw new Error(`${where}: refused and read`, { cause: found });
  if (!isDeepStrictEqual(found, expected)) throw new Error(`${where}: read as something else`);
}

function outcome<T>(action: () => T): T | ContainerError {
  try {
    return action();
  } catch (error) {
    return refusal(error);
  }
}

async function outcomeLater<T>(action: Promise<T>): Promise<T | ContainerError> {
  try {
    return await action;
  } catch (error) {
    return refusal(error);
  }
}

function refusal(error: unknown): ContainerError {
  if (!(error instanceof ContainerError)) throw error;
  if (error.message.length > MESSAGE_LENGTH_MAX) throw new Error(`an error of ${error.message.length} characters`);
  return error;
}
