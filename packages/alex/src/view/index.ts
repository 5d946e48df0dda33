// Programs on all stages, for people: texts that are tied together line by line, and the page that shows them.

export type { View, ViewInput, ViewSource, ViewStage } from "./data.ts";
export { numberInstructions } from "./lines.ts";
export type { StageLine } from "./lines.ts";
export { loopLines } from "./loop_text.ts";
export { renderView } from "./page.ts";
export { tokenize } from "./source_text.ts";
export type { Token, TokenKind } from "./source_text.ts";
export { wasmStage } from "./wasm_stage.ts";
export type { WasmStage } from "./wasm_stage.ts";
