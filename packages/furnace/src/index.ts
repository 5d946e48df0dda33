// The public face of furnace: derivatives of functions over tensors, optimisers, and schedules.

export { checkpoint, checkpointName, NotDifferentiableError, stopGradient } from "@fidelity/core";
export type { CheckpointOptions } from "@fidelity/core";
export { customJvp } from "./custom_jvp.ts";
export { customVjp } from "./custom_vjp.ts";
export type { CustomVjpRules } from "./custom_vjp.ts";
export { ESTIMATORS, findEstimator } from "./estimators/index.ts";
export type { EstimatedWeight, Estimator, Master, TrainedMaster } from "./estimators/estimator.ts";
export { addGradients, scaleGradient, squaredNorm } from "./gradients/arithmetic.ts";
export { diagonalGradient, isGradient, lowRank, sparse, structured, zero } from "./gradients/gradient.ts";
export { dense, heldElements, partsOf } from "./gradients/gradient.ts";
export type {
  Dense,
  Diagonal,
  Gradient,
  GradientKind,
  GradientOf,
  LowRank,
  Pattern,
  Sparse,
  Structured,
  Ternary,
  Zero,
} from "./gradients/gradient.ts";
export { addGradientTrees, gradients, materialiseTree } from "./gradients/gradients.ts";
export type { Gradients, GradientsOptions, Materialised, ValueAndGradients } from "./gradients/gradients.ts";
export { materialise, mergeRows } from "./gradients/materialise.ts";
export { castVotes, flipTernary } from "./gradients/ternary.ts";
export type { Votes } from "./gradients/ternary.ts";
export { hessian, hvp, jacfwd, jacrev } from "./jacobian.ts";
export type { Hessian, Jacobian, JacobianOptions } from "./jacobian.ts";
export { jvp } from "./jvp.ts";
export type { JvpResult } from "./jvp.ts";
export { linearize } from "./linearize.ts";
export type { Linearized } from "./linearize.ts";
export { quantity } from "./quantity.ts";
export type { Measured, Slope } from "./quantity.ts";
export type { Tangent, TangentDtype } from "./tangent.ts";
export { grad, valueAndGrad, vjp } from "./vjp.ts";
export type { GradOptions, ValueAndGrad, ValueGradAux, VjpResult } from "./vjp.ts";
export { vmap } from "./vmap.ts";
export type { Axes, Examples, Unshaped, VmapOptions } from "./vmap.ts";
export { adamW } from "./optimizers/adamw.ts";
export type { AdamWOptions } from "./optimizers/adamw.ts";
export { accumulateGrad } from "./optimizers/accumulate.ts";
export { adafactor } from "./optimizers/adafactor.ts";
export type { AdafactorOptions } from "./optimizers/adafactor.ts";
export { eightBit } from "./optimizers/eight_bit.ts";
export type { EightBitOptions } from "./optimizers/eight_bit.ts";
export { withEma } from "./optimizers/ema.ts";
export { OPTIMIZERS } from "./optimizers/index.ts";
export type { CommonOptions, OptimizerName } from "./optimizers/index.ts";
export { lion } from "./optimizers/lion.ts";
export type { LionOptions } from "./optimizers/lion.ts";
export { muon } from "./optimizers/muon.ts";
export type { MuonOptions } from "./optimizers/muon.ts";
export { scheduleFree } from "./optimizers/schedule_free.ts";
export type { ScheduleFreeOptions } from "./optimizers/schedule_free.ts";
export { soap } from "./optimizers/soap.ts";
export type { SoapOptions } from "./optimizers/soap.ts";
export { clipByGlobalNorm } from "./optimizers/clip.ts";
export type { Optimizer, OptimizerState, StepInputs } from "./optimizers/optimizer.ts";
export type { RowsMode } from "./optimizers/variants.ts";
export * from "./precision/index.ts";
export { sgd } from "./optimizers/sgd.ts";
export type { SgdOptions } from "./optimizers/sgd.ts";
export { constantRate, halvedFrom, linearRate, ScheduleError, warmupCosine, warmupStableDecay } from "./schedules.ts";
export type { Schedule, WarmupCosineOptions, WarmupStableDecayOptions } from "./schedules.ts";
