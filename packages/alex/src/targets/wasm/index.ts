// The wasm target: programs of the loop IR to WebAssembly modules.

export { compileProgramToWasm, scratchStrideBytes } from "./emit-program.ts";
export type { WasmProgramExports, WasmProgramOptions } from "./emit-program.ts";
export { disassemble, DisassemblyError, printWat } from "./disassemble.ts";
export type { DisassembleOptions, WatFunction, WatLine, WatModule } from "./disassemble.ts";
export { WasmTargetError } from "./emit-operation.ts";
export { ADDRESS_BYTES, CONTROL_BYTES } from "../team.ts";
