// The public face of furnace: derivatives of functions over tensors, optimisers, and schedules.

export { NotDifferentiableError, stopGradient } from "@fidelity/core";
export { customVjp } from "./custom_vjp.ts";
export type { CustomVjpRules } from "./custom_vjp.ts";
export { jvp } from "./jvp.ts";
export type { JvpResult } from "./jvp.ts";
export type { Tangent, TangentDtype } from "./tangent.ts";
export { grad, valueAndGrad, vjp } from "./vjp.ts";
export type { GradOptions, ValueAndGrad, ValueGradAux, VjpResult } from "./vjp.ts";
export { adamW } from "./optimizers/adamw.ts";
export type { AdamWOptions } from "./optimizers/adamw.ts";
export { clipByGlobalNorm } from "./optimizers/clip.ts";
export type { Optimizer, OptimizerState, StepInputs } from "./optimizers/optimizer.ts";
export { sgd } from "./optimizers/sgd.ts";
export type { SgdOptions } from "./optimizers/sgd.ts";
export { constantRate, linearRate, ScheduleError, warmupCosine } from "./schedules.ts";
export type { Schedule, WarmupCosineOptions } from "./schedules.ts";
