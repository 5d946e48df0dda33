// What a model file holds, as plain data: its components and their tensors, the configuration, the sums, and what each
// version of a container changed. Only headers are read, from a server by range requests; the tensors of a llama2.c
// file, which has no list of them, are counted off over mapped pages that nobody touches.

import { bestTarget } from "@fidelity/alex/node";
import { changedComponents, containerMap, ContainerReader, openHttpSource } from "@fidelity/barewire";
import type { ContainerHeader, MemoryMap } from "@fidelity/barewire";
import { readContainerVersions } from "@fidelity/barewire/node";
import { readLlama2c } from "@fidelity/formats";
import type { GgufSource, SourceTensor, TensorSource } from "@fidelity/formats";
import { openOnnx, openSafetensors, openSafetensorsIndex } from "@fidelity/formats/node";
import type { OpenSource } from "@fidelity/formats/node";
import { architectures } from "@fidelity/models";
import {
  aboutContainer,
  aboutForeign,
  aboutModel,
  describeForeign,
  describeModel,
  fidelityInfo,
  memoryFit,
  openForeignModel,
  withMappedFile,
} from "@fidelity/run/node";
import type { AboutModel, CardValue, MemoryFit, ModelInfo, VocabularyInfo } from "@fidelity/run/node";
import { FidelityError } from "@fidelity/units";
import { identifyFile } from "./identify.ts";
import type { IdentifiedFile } from "./identify.ts";

/** What the format of a container of Fidelity begins with. */
const CONTAINER = "Fidelity container";

export interface TensorDescription {
  readonly name: string;
  readonly dtype: string;
  readonly layout: string;
  readonly shape: readonly number[];
  readonly elements: number;
  readonly sizeBytes: number;
  /** From the start of the file. */
  readonly offsetBytes: number;
}

export interface ComponentDescription {
  readonly id: string;
  readonly kind: string;
  readonly elements: number;
  readonly sizeBytes: number;
  readonly tensors: readonly TensorDescription[];
}

/** How many tensors have a type, and their bytes. */
export interface TypeDescription {
  readonly dtype: string;
  readonly tensors: number;
  readonly sizeBytes: number;
}

/** One version of a container that was appended to. */
export interface VersionDescription {
  readonly version: number;
  readonly tensors: number;
  /** Bytes that it added to the file. */
  readonly addedBytes: number;
  /** The ids of the components that it added, replaced or took away; all of them for the first that the file has. */
  readonly changed: readonly string[];
}

export interface FileDescription {
  readonly path: string;
  readonly format: string;
  readonly fileSizeBytes: number;
  /** What the file's configuration builds; absent where it names no architecture that this version has. */
  readonly architecture?: { readonly name: string; readonly summary: string };
  /** What opening it takes; absent where the architecture is. */
  readonly memory?: MemoryFit;
  /** What the file says of its model, by GGUF's keys; lists of texts as lists. */
  readonly card?: Readonly<Record<string, CardValue>>;
  /** Absent where there is none. */
  readonly tokenizer?: VocabularyInfo;
  /** Names of chat templates. */
  readonly chatTemplates?: readonly string[];
  /** Why the model cannot be opened, where it cannot. */
  readonly problem?: string;
  readonly config: unknown;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly components: readonly ComponentDescription[];
  readonly totals: { readonly tensors: number; readonly elements: number; readonly sizeBytes: number };
  /** Of a GGUF, safetensors or ONNX file: how much of it each type has. */
  readonly types?: readonly TypeDescription[];
  /** Of a container, oldest first. What is described above is the last. */
  readonly versions?: readonly VersionDescription[];
  /** Every byte of a container, where it was asked for. */
  readonly memoryMap?: MemoryMap;
}

export interface DescribeOptions {
  /** Whether a container's map is made as well. */
  readonly map?: boolean;
}

/** Describes a file by its header, read once. Throws `FileError`, `WrongFileError`, and what its reader throws. */
export function describeFile(path: string, options: DescribeOptions = {}): FileDescription {
  const file = identifyFile(path);
  switch (file.format) {
    case "fidelity":
      return describeContainer(path, file.sizeBytes, readContainerVersions(path), options);
    case "llama2c":
      return { ...describeLlama2c(file), ...cardOf(() => aboutModel(path)), ...modelOf(() => describeModel(path)) };
    case "onnx": {
      using opened = openOnnx(path);
      const contents = describeSource(file, `ONNX, IR version ${opened.source.irVersion}`, opened.source);
      return { ...contents, ...modelOf(() => describeModel(path)) };
    }
    case "safetensors":
      return describeForeignFile(file, "safetensors", openSafetensors);
    case "safetensors-index":
      return describeForeignFile(file, "safetensors, several files", openSafetensorsIndex);
    case "safetensors-folder":
      return describeForeignFile(file, "safetensors in a folder of Hugging Face");
    case "gguf":
      return describeForeignFile(file, "GGUF");
  }
}

/** A file of another program. Where only its configuration is no good, what `openAlone` gives of it is shown. */
function describeForeignFile(
  file: IdentifiedFile,
  format: string,
  openAlone?: (path: string) => OpenSource<TensorSource>,
): FileDescription {
  try {
    using opened = openForeignModel(file.path);
    const { source, config, fileSizeBytes } = opened;
    const version = isGguf(source) ? `, version ${source.version}` : "";
    const isFolder = file.format === "safetensors-folder";
    const shown = isFolder ? { format: source.format, config, tensors: source.tensors } : source;
    const contents = describeSource(isFolder ? { ...file, sizeBytes: fileSizeBytes } : file, format + version, shown);
    return { ...contents, ...cardOf(() => aboutForeign(opened)), ...modelOf(() => describeForeign(opened)) };
  } catch (error) {
    if (openAlone === undefined || !(error instanceof FidelityError)) throw error;
    using opened = openAlone(file.path);
    return { ...describeSource(file, format, opened.source), problem: error.message };
  }
}

const isGguf = (source: Pick<TensorSource, "format">): source is GgufSource => source.format === "gguf";

/** What the file says of its model; nothing for what is no model file. */
function cardOf(read: () => AboutModel): Pick<FileDescription, "card" | "tokenizer" | "chatTemplates"> {
  try {
    const { card, vocabulary, chatTemplates } = read();
    const tokenizer = vocabulary === undefined ? {} : { tokenizer: vocabulary };
    return { card: Object.fromEntries(card), ...tokenizer, chatTemplates };
  } catch (error) {
    if (error instanceof FidelityError) return {};
    throw error;
  }
}

/** The model that a file holds. A file whose model cannot be opened is shown all the same. */
function modelOf(describe: () => ModelInfo): Pick<FileDescription, "architecture" | "memory" | "problem"> {
  try {
    const info = describe();
    const name = info.model.architecture;
    return { architecture: { name, summary: architectures[name].summary }, memory: memoryFit(info, bestTarget()) };
  } catch (error) {
    if (error instanceof FidelityError) return { problem: error.message };
    throw error;
  }
}

/** Describes a container on a server from its headers. Throws subclasses of `SourceError` and `ContainerError`. */
export async function describeAddress(address: string, options: DescribeOptions = {}): Promise<FileDescription> {
  const source = await openHttpSource(address);
  const reader = await ContainerReader.open(source);
  return describeContainer(source.name, source.sizeBytes, await reader.versions(), options);
}

function describeContainer(
  path: string,
  fileSizeBytes: number,
  versions: readonly ContainerHeader[],
  options: DescribeOptions,
): FileDescription {
  const header = versions[versions.length - 1];
  const components = header.components.map(({ id, kind }) =>
    describeComponent(
      id,
      kind,
      header.tensors
        .filter(({ component }) => component === id)
        .map(({ name, dtype, layout, shape, sizeBytes, offset }) => {
          return { name, dtype, layout, shape, sizeBytes, offsetBytes: offset };
        }),
    ),
  );
  return {
    path,
    format: `${CONTAINER}, version ${header.formatVersion}`,
    fileSizeBytes,
    ...cardOf(() => aboutContainer(header)),
    ...modelOf(() => fidelityInfo(path, header).info),
    config: header.config,
    metadata: header.metadata,
    components,
    totals: sum(components),
    versions: versions.map((version, i) => describeVersion(version, versions[i - 1])),
    ...(options.map === true ? { memoryMap: containerMap(versions) } : {}),
  };
}

function describeVersion(header: ContainerHeader, before: ContainerHeader | undefined): VersionDescription {
  const { version, tensors, components, fileSizeBytes } = header;
  return {
    version,
    tensors: tensors.length,
    addedBytes: fileSizeBytes - (before?.fileSizeBytes ?? 0),
    changed: before === undefined ? components.map(({ id }) => id) : changedComponents(before, header),
  };
}

function describeLlama2c({ path, sizeBytes }: IdentifiedFile): FileDescription {
  const { config, tensors } = withMappedFile(path, ({ region }) => readLlama2c(region.u8() as Uint8Array, path));
  const components = componentsOf(tensors);
  return {
    path,
    format: "llama2.c checkpoint, version 0",
    fileSizeBytes: sizeBytes,
    config,
    metadata: {},
    components,
    totals: sum(components),
  };
}

/** Scalars of GGUF's metadata are its configuration; of its arrays the lengths are shown. */
function describeSource(
  { path, sizeBytes }: IdentifiedFile,
  format: string,
  source: Pick<TensorSource, "format" | "tensors"> & { readonly config: unknown },
): FileDescription {
  const components = componentsOf(source.tensors);
  const arrays: [string, string][] = [];
  for (const [key, value] of isGguf(source) ? source.metadata : []) {
    if (value.type === "array") arrays.push([key, `${value.length} of ${value.elementType}`]);
  }
  const dtypes = [...new Set(source.tensors.map(({ dtype }) => dtype))];
  return {
    path,
    format,
    fileSizeBytes: sizeBytes,
    config: source.config,
    metadata: Object.fromEntries(arrays),
    components,
    totals: sum(components),
    types: dtypes.map((dtype) => {
      const tensors = source.tensors.filter((tensor) => tensor.dtype === dtype);
      const typeBytes = tensors.reduce((total, tensor) => total + tensor.sizeBytes, 0);
      return { dtype, tensors: tensors.length, sizeBytes: typeBytes };
    }),
  };
}

function componentsOf(tensors: readonly SourceTensor[]): readonly ComponentDescription[] {
  const groups = Map.groupBy(tensors, ({ name }) => componentOf(name));
  return Array.from(groups, ([id, members]) =>
    describeComponent(
      id,
      /\.\d+$/.test(id) ? "block" : id,
      members.map(({ name, dtype, shape, sizeBytes, byteOffset }) => {
        return { name, dtype, layout: "dense", shape, sizeBytes, offsetBytes: byteOffset };
      }),
    ),
  );
}

/** `blocks.3.attention.query.weight` belongs to `blocks.3`, `model.norm.weight` to `model.norm`. */
function componentOf(name: string): string {
  return /^[^.\d](?:[^.]*\.)*?\d+(?=\.)|^.+(?=\.[^.]+$)/.exec(name)?.[0] ?? name;
}

/** A component with its sums. */
export function describeComponent(
  id: string,
  kind: string,
  entries: readonly Omit<TensorDescription, "elements">[],
): ComponentDescription {
  const tensors = entries.map((entry) => ({ ...entry, elements: entry.shape.reduce((a, b) => a * b, 1) }));
  return { id, kind, ...addUp(tensors), tensors };
}

function sum(components: readonly ComponentDescription[]): FileDescription["totals"] {
  return { tensors: components.reduce((count, { tensors }) => count + tensors.length, 0), ...addUp(components) };
}

function addUp(parts: readonly { elements: number; sizeBytes: number }[]): { elements: number; sizeBytes: number } {
  return {
    elements: parts.reduce((total, part) => total + part.elements, 0),
    sizeBytes: parts.reduce((total, part) => total + part.sizeBytes, 0),
  };
}
