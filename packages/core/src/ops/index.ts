// The table of ops: one line an op. Every suite and every table of rules runs over it.

import type { OpDef } from "../op.ts";
import { absOp } from "./abs.ts";
import { addOp } from "./add.ts";
import { afterOp } from "./after.ts";
import { attentionOp } from "./attention.ts";
import { attentionGradOp } from "./attention_grad.ts";
import { attentionTangentOp } from "./attention_tangent.ts";
import { blockLinearOp } from "./block_linear.ts";
import { broadcastOp } from "./broadcast.ts";
import { callOp } from "./call.ts";
import { castOp } from "./cast.ts";
import { causalConvolutionOp } from "./causal_convolution.ts";
import { causalConvolutionTransposeOp, causalConvolutionWeightsOp } from "./causal_convolution_adjoints.ts";
import { checkpointOp, checkpointTangentOp } from "./checkpoint.ts";
import { checkpointNameOp } from "./checkpoint_name.ts";
import { choleskyOp } from "./cholesky.ts";
import { chosenLinearOp } from "./chosen_linear.ts";
import { compositeTangentOp } from "./composite_tangent.ts";
import { concatOp } from "./concat.ts";
import { condOp } from "./cond.ts";
import { constantOp } from "./constant.ts";
import { cosOp } from "./cos.ts";
import { crossEntropyOp } from "./cross_entropy.ts";
import { customJvpOp } from "./custom_jvp.ts";
import { customVjpOp, customVjpTangentOp } from "./custom_vjp.ts";
import { dequantizeOp } from "./dequantize.ts";
import { diagonalOp } from "./diagonal.ts";
import { diagonalMatrixOp } from "./diagonal_matrix.ts";
import { divOp } from "./div.ts";
import { doubleDoubleOp } from "./double_double.ts";
import { doubleDoubleMatmulOp } from "./double_double_matmul.ts";
import { doubleDoubleSumOp } from "./double_double_sum.ts";
import { dynamicSliceOp } from "./dynamic_slice.ts";
import { dynamicUpdateSliceOp } from "./dynamic_update_slice.ts";
import { eighOp } from "./eigh.ts";
import { eqOp } from "./eq.ts";
import { erfOp } from "./erf.ts";
import { expOp } from "./exp.ts";
import { expertLinearOp } from "./expert_linear.ts";
import { expertOuterOp } from "./expert_outer.ts";
import { floorOp } from "./floor.ts";
import { gatherOp } from "./gather.ts";
import { geluOp } from "./gelu.ts";
import { geluExactOp } from "./gelu_exact.ts";
import { generalizedDeltaRuleOp } from "./generalized_delta_rule.ts";
import { generalizedDeltaRuleGradOp, generalizedDeltaRuleTangentOp } from "./generalized_delta_rule_grad.ts";
import { iotaOp } from "./iota.ts";
import { layerNormOp } from "./layer_norm.ts";
import { leOp } from "./le.ts";
import { linearRecurrenceOp } from "./linear_recurrence.ts";
import { linearRecurrenceAdjointOp } from "./linear_recurrence_adjoint.ts";
import { logOp } from "./log.ts";
import { logSoftmaxOp } from "./log_softmax.ts";
import { logicalAndOp } from "./logical_and.ts";
import { logicalNotOp } from "./logical_not.ts";
import { ltOp } from "./lt.ts";
import { luOp } from "./lu.ts";
import { matmulOp } from "./matmul.ts";
import { matmulExactOp } from "./matmul_exact.ts";
import { maxOp } from "./max.ts";
import { minOp } from "./min.ts";
import { mulOp } from "./mul.ts";
import { negOp } from "./neg.ts";
import { padOp } from "./pad.ts";
import { pagedAttentionOp } from "./paged_attention.ts";
import { parameterOp } from "./parameter.ts";
import { powOp } from "./pow.ts";
import { qrOp } from "./qr.ts";
import { quantizeActivationsOp } from "./quantize_activations.ts";
import { reduceMaxOp } from "./reduce_max.ts";
import { reduceSumOp } from "./reduce_sum.ts";
import { reluOp } from "./relu.ts";
import { reshapeOp } from "./reshape.ts";
import { rmsNormOp } from "./rms_norm.ts";
import { ropeOp } from "./rope.ts";
import { roundOp } from "./round.ts";
import { rsqrtOp } from "./rsqrt.ts";
import { scanOp } from "./scan.ts";
import { scatterAddOp } from "./scatter_add.ts";
import { scatterRowsOp } from "./scatter_rows.ts";
import { selectOp } from "./select.ts";
import { selectiveScanOp } from "./selective_scan.ts";
import { selectiveScanGradOp, selectiveScanTangentOp } from "./selective_scan_grad.ts";
import { sigmoidOp } from "./sigmoid.ts";
import { siluOp } from "./silu.ts";
import { sinOp } from "./sin.ts";
import { sliceOp } from "./slice.ts";
import { softmaxOp } from "./softmax.ts";
import { softplusOp } from "./softplus.ts";
import { sortOp } from "./sort.ts";
import { splatOp } from "./splat.ts";
import { sqrtOp } from "./sqrt.ts";
import { stopGradientOp } from "./stop_gradient.ts";
import { subOp } from "./sub.ts";
import { sumExactOp } from "./sum_exact.ts";
import { svdOp } from "./svd.ts";
import { tanhOp } from "./tanh.ts";
import { ternarizeOp } from "./ternarize.ts";
import { ternaryLinearOp } from "./ternary_linear.ts";
import { transposeOp } from "./transpose.ts";
import { triangularSolveOp } from "./triangular_solve.ts";
import { whileLoopOp } from "./while_loop.ts";

const TABLE = {
  abs: absOp,
  add: addOp,
  after: afterOp,
  attention: attentionOp,
  attention_grad: attentionGradOp,
  attention_tangent: attentionTangentOp,
  block_linear: blockLinearOp,
  broadcast: broadcastOp,
  call: callOp,
  cast: castOp,
  causal_convolution: causalConvolutionOp,
  causal_convolution_transpose: causalConvolutionTransposeOp,
  causal_convolution_weights: causalConvolutionWeightsOp,
  checkpoint: checkpointOp,
  checkpoint_name: checkpointNameOp,
  checkpoint_tangent: checkpointTangentOp,
  cholesky: choleskyOp,
  chosen_linear: chosenLinearOp,
  composite_tangent: compositeTangentOp,
  concat: concatOp,
  cond: condOp,
  constant: constantOp,
  cos: cosOp,
  cross_entropy: crossEntropyOp,
  custom_jvp: customJvpOp,
  custom_vjp: customVjpOp,
  custom_vjp_tangent: customVjpTangentOp,
  dequantize: dequantizeOp,
  diagonal: diagonalOp,
  diagonal_matrix: diagonalMatrixOp,
  div: divOp,
  double_double: doubleDoubleOp,
  double_double_matmul: doubleDoubleMatmulOp,
  double_double_sum: doubleDoubleSumOp,
  dynamic_slice: dynamicSliceOp,
  dynamic_update_slice: dynamicUpdateSliceOp,
  eigh: eighOp,
  eq: eqOp,
  erf: erfOp,
  exp: expOp,
  expert_linear: expertLinearOp,
  expert_outer: expertOuterOp,
  floor: floorOp,
  gather: gatherOp,
  gelu: geluOp,
  gelu_exact: geluExactOp,
  generalized_delta_rule: generalizedDeltaRuleOp,
  generalized_delta_rule_grad: generalizedDeltaRuleGradOp,
  generalized_delta_rule_tangent: generalizedDeltaRuleTangentOp,
  iota: iotaOp,
  layer_norm: layerNormOp,
  le: leOp,
  linear_recurrence: linearRecurrenceOp,
  linear_recurrence_adjoint: linearRecurrenceAdjointOp,
  log: logOp,
  log_softmax: logSoftmaxOp,
  logical_and: logicalAndOp,
  logical_not: logicalNotOp,
  lt: ltOp,
  lu: luOp,
  matmul: matmulOp,
  matmul_exact: matmulExactOp,
  max: maxOp,
  min: minOp,
  mul: mulOp,
  neg: negOp,
  pad: padOp,
  paged_attention: pagedAttentionOp,
  parameter: parameterOp,
  pow: powOp,
  qr: qrOp,
  quantize_activations: quantizeActivationsOp,
  reduce_max: reduceMaxOp,
  reduce_sum: reduceSumOp,
  relu: reluOp,
  reshape: reshapeOp,
  rms_norm: rmsNormOp,
  rope: ropeOp,
  round: roundOp,
  rsqrt: rsqrtOp,
  scan: scanOp,
  scatter_add: scatterAddOp,
  scatter_rows: scatterRowsOp,
  select: selectOp,
  selective_scan: selectiveScanOp,
  selective_scan_grad: selectiveScanGradOp,
  selective_scan_tangent: selectiveScanTangentOp,
  sigmoid: sigmoidOp,
  silu: siluOp,
  sin: sinOp,
  slice: sliceOp,
  softmax: softmaxOp,
  softplus: softplusOp,
  sort: sortOp,
  splat: splatOp,
  sqrt: sqrtOp,
  stop_gradient: stopGradientOp,
  sub: subOp,
  sum_exact: sumExactOp,
  svd: svdOp,
  tanh: tanhOp,
  ternarize: ternarizeOp,
  ternary_linear: ternaryLinearOp,
  transpose: transposeOp,
  triangular_solve: triangularSolveOp,
  while_loop: whileLoopOp,
};

export type OpName = keyof typeof TABLE;

/** Every op by its name. */
export const OPS = TABLE as unknown as Readonly<Record<OpName, OpDef>>;
