// The public face of the formats room in Node: files on disk. Import the rest from "@fidelity/formats".

export {
  openGguf,
  openOnnx,
  openSafetensors,
  openSafetensorsIndex,
  writeGgufFile,
  writeSafetensorsFile,
} from "./open.node.ts";
export type { OpenSource, OpenSourceOptions } from "./open.node.ts";
export { openSource } from "./open-source.node.ts";
export type { OpenFile } from "./open-source.node.ts";
