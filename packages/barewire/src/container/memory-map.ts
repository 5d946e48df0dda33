// A container as a map of its bytes, for `describeMap`: roots, header, tensors, and what lies between them. Bytes that
// only older versions refer to show as theirs, so that the map tells what compaction would free.

import { padded } from "../layout/cells.ts";
import type { Cell, CellKind, MemoryMap } from "../layout/cells.ts";
import { TENSOR_ALIGN_BYTES } from "./check.ts";
import { CONTAINER_PAGE_BYTES, CONTAINER_ROOT_BYTES } from "./container.ts";
import type { ContainerHeader } from "./container.ts";

/** The map of a container file, from the headers of all its versions, oldest first (`readVersions`). */
export function containerMap(versions: readonly ContainerHeader[]): MemoryMap {
  const newest = versions[versions.length - 1];
  const sizeBytes = newest.fileSizeBytes;
  const cells = new Map<number, Cell>();
  const add = (offsetBytes: number, size: number, kind: CellKind, path: string, type: string): void => {
    if (size > 0) cells.set(offsetBytes, { offsetBytes, sizeBytes: size, kind, path, type });
  };
  if (newest.formatVersion === 1) add(0, newest.root.headerOffset, "tag", "prefix", "prefix");
  else {
    add(0, CONTAINER_ROOT_BYTES, "tag", "root A", "root");
    add(CONTAINER_PAGE_BYTES, CONTAINER_ROOT_BYTES, "tag", "root B", "root");
  }
  // Oldest first, so that a range that the newest refers to shows as the newest's.
  for (const header of versions) {
    const { version, root, tensors } = header;
    const note = header === newest ? "" : `, of version ${version}`;
    const kind = header === newest ? "data" : "overlay";
    add(root.headerOffset, root.headerBytes, "list", `header ${version}`, `header${note}`);
    for (const { name, offset, sizeBytes: size, dtype, shape } of tensors) {
      add(offset, size, kind, name, `${dtype}[${shape.join(", ")}]${note}`);
    }
  }
  const title = versions.length === 1 ? "container" : `container of ${versions.length} versions`;
  return { title, sizeBytes, alignBytes: TENSOR_ALIGN_BYTES, cells: padded([...cells.values()], sizeBytes) };
}
