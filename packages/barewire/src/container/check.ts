// What must hold for the entries of a model container, on reading and on writing alike: nothing here looks at bytes.

import { InvalidContainerError } from "./errors.ts";
import type { ContainerComponent, TensorEntry } from "./schema.ts";

/** Tensors start at multiples of this. */
export const TENSOR_ALIGN_BYTES = 64;

/** What a container may hold. Larger ones are refused by reader and writer alike. */
export const CONTAINER_LIMITS = {
  headerBytesMax: 2 ** 26,
  tensorCountMax: 2 ** 20,
  componentCountMax: 2 ** 16,
  /** Of versions that are listed; the newest is read whatever their number. */
  versionCountMax: 2 ** 16,
  nameLengthMax: 1024,
  rankMax: 16,
} as const;

// Bytes an element, for the dtypes whose dense size does not depend on packing. Others are their reader's to check.
const DENSE_ELEMENT_BYTES: ReadonlyMap<string, number> = new Map([
  ["f64", 8],
  ["f32", 4],
  ["f16", 2],
  ["bf16", 2],
  ["i32", 4],
  ["i8", 1],
  ["u8", 1],
]);

/**
 * Checks what can be told without positions: counts, names, components, shapes, and sizes where the dtype fixes them.
 * Throws `InvalidContainerError`.
 */
export function checkEntries(components: readonly ContainerComponent[], tensors: readonly TensorEntry[]): void {
  const { componentCountMax, tensorCountMax } = CONTAINER_LIMITS;
  if (components.length > componentCountMax || tensors.length > tensorCountMax) {
    throw new InvalidContainerError("it has too many parts", {
      expected: `at most ${componentCountMax} components and ${tensorCountMax} tensors`,
      got: `${components.length} and ${tensors.length}`,
    });
  }
  const ids = checkNames(
    "component",
    components.map(({ id }) => id),
  );
  checkNames(
    "tensor",
    tensors.map(({ name }) => name),
  );
  for (const tensor of tensors) {
    const where = `tensor "${tensor.name}"`;
    if (!ids.has(tensor.component)) {
      throw new InvalidContainerError("a tensor belongs to no component", { where, got: tensor.component });
    }
    checkShape(tensor, where);
  }
}

function checkNames(what: string, names: readonly string[]): ReadonlySet<string> {
  const seen = new Set<string>();
  for (const name of names) {
    if (name === "" || name.length > CONTAINER_LIMITS.nameLengthMax) {
      throw new InvalidContainerError(`a ${what} has an impossible name`, {
        expected: `1 to ${CONTAINER_LIMITS.nameLengthMax} characters`,
        got: `${name.length}`,
      });
    }
    if (seen.has(name)) throw new InvalidContainerError(`two ${what}s have one name`, { got: JSON.stringify(name) });
    seen.add(name);
  }
  return seen;
}

function checkShape({ shape, dtype, layout, sizeBytes }: TensorEntry, where: string): void {
  const count = shape.reduce((product, dim) => product * dim, 1);
  const isPossible =
    shape.length <= CONTAINER_LIMITS.rankMax && shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0);
  if (!isPossible || !Number.isSafeInteger(count)) {
    throw new InvalidContainerError("a tensor has an impossible shape", {
      where,
      expected: `at most ${CONTAINER_LIMITS.rankMax} dims and 2^53 elements`,
      got: `[${shape.join(", ")}]`,
    });
  }
  const elementBytes = layout === "dense" ? DENSE_ELEMENT_BYTES.get(dtype) : undefined;
  if (elementBytes !== undefined && count * elementBytes !== sizeBytes) {
    throw new InvalidContainerError("a tensor's size does not follow from its shape", {
      where,
      expected: `${count * elementBytes} bytes for ${dtype} [${shape.join(", ")}]`,
      got: `${sizeBytes} bytes`,
    });
  }
}

/** A range of the file that nothing else may lie over. */
export interface Taken {
  readonly name: string;
  readonly offset: number;
  readonly sizeBytes: number;
}

/**
 * Checks that all tensors lie from `start` on, aligned, and none over another or over the header; returns where the
 * last of them ends. Throws `InvalidContainerError`.
 */
export function checkRanges(tensors: readonly TensorEntry[], start: number, header?: Taken): number {
  const ranges: Taken[] = header === undefined ? [...tensors] : [...tensors, header];
  let end = start;
  for (const range of ranges.sort((a, b) => a.offset - b.offset)) {
    const { name, offset, sizeBytes } = range;
    const isInside = offset % TENSOR_ALIGN_BYTES === 0 && Number.isSafeInteger(offset + sizeBytes);
    if (!isInside || offset < end) {
      throw new InvalidContainerError("a tensor lies where it cannot", {
        where: range === header ? name : `tensor "${name}"`,
        expected: `a multiple of ${TENSOR_ALIGN_BYTES} from ${end} on`,
        got: `offset ${offset}, ${sizeBytes} bytes`,
      });
    }
    end = offset + sizeBytes;
  }
  return end;
}
