// The public face of BAREWire in Node: files, mappings and native calls. Import the rest from "@fidelity/barewire".

export { loadFfi } from "./ffi.node.ts";
export type { Ffi, FfiResult } from "./ffi.node.ts";
export {
  BlockWriter,
  FileError,
  makeFolder,
  toFileError,
  writeContainerFile,
  writeFileAtomic,
  writeFileGradually,
} from "./file.node.ts";
export { MappedFile, mapFile } from "./map.node.ts";
export type { HowMapped, MapOptions } from "./map.node.ts";
export { OpenContainer, openContainer, readContainerHeader, readContainerVersions } from "./container/open.node.ts";
export type { OpenContainerOptions } from "./container/open.node.ts";
export { ContainerWriter, appendContainer, compactContainer } from "./container/writer.node.ts";
export type { ContainerChanges, TensorSpec, TensorWriter } from "./container/writer.node.ts";
export { fileSource } from "./container/file-source.node.ts";
export {
  createChannel,
  createLatest,
  createService,
  openChannel,
  openLatest,
  openService,
} from "./channel/process.node.ts";
export type { OpenOptions } from "./channel/process.node.ts";
export { TcpChannel, TcpListener, connectTcp, listenTcp } from "./channel/tcp.node.ts";
export type { ListenAddress, TcpAddress, TcpOptions } from "./channel/tcp.node.ts";
export {
  NotSharedMemoryError,
  SharedMemoryError,
  SharedMemoryExistsError,
  SharedMemoryFullError,
  SharedMemoryMissingError,
  SharedMemoryPermissionError,
  SharedMemoryTooSmallError,
  SharedMemoryUnsupportedError,
  SharedMemoryVersionError,
} from "./shm/errors.ts";
export { SEGMENT_BYTES_MAX, SEGMENT_HEADER_BYTES, SharedSegment, sweepSharedMemory } from "./shm/segment.node.ts";
export { adviseHugeArena, adviseHugePages, hugePageBytes } from "./memory/huge.node.ts";
export type { Placement } from "./memory/libc.node.ts";
export { allocCoherent, bindToNode, numaNodes } from "./memory/numa.node.ts";
export type { CoherentMemory, NumaNode } from "./memory/numa.node.ts";
export { mapFileWritable, WritableFile } from "./memory/writable-file.node.ts";
export type { WritableOptions } from "./memory/writable-file.node.ts";
