// What explains compilations: decisions and costs as data, their text, ceilings, and profiles.

export { ceilingName, ceilingProgram } from "./ceiling_programs.ts";
export type { Ceiling, CeilingProgram } from "./ceiling_programs.ts";
export { measureCeilings } from "./ceilings.ts";
export type { Bandwidth, Ceilings, CeilingsOptions, Rates } from "./ceilings.ts";
export { explainProgram } from "./explain.ts";
export type { ExplainOptions } from "./explain.ts";
export type * from "./explanation.ts";
export { foldUnits } from "./sequences.ts";
export type { UnitBlock } from "./sequences.ts";
export { tallyCall } from "./tally.ts";
export type { CallWork, TallyOptions } from "./tally.ts";
export { formatExplanation } from "./text.ts";
export { profileProgram } from "./profile.ts";
export type { Profile, ProfileOptions } from "./profile.ts";
