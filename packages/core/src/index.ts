// The public face of `core`: the graph IR and its ops, the tensor front end, the reference interpreter, what the two
// levels of IR print as and must satisfy, and the loop IR that ops lower to.

// Types of values, and where they lie.
export {
  BLOCK_DTYPES,
  DTYPES,
  isBlocked,
  isDtype,
  isFloat,
  isHalf,
  isPacked,
  isStorageOnly,
  isTernary,
} from "./dtype.ts";
export type { BlockDtype, Dtype, DtypeInfo, FloatDtype, HalfDtype, TernaryDtype } from "./dtype.ts";
export {
  BLOCK_FORMATS,
  blockLayout,
  elementCount,
  q8Layout,
  roundUp,
  rowCount,
  storageBytes,
  ternaryLayout,
  tritsByte,
  tritsValue,
} from "./storage.ts";
export type { BlockLayout, Q8Layout, TernaryLayout } from "./storage.ts";
export { bf16Bits, bf16Value, cellsOf, decodeTensor, encodeTensor } from "./host.ts";
export { fileBlock, repackBlocks } from "./repack_blocks.ts";
export { hostValues, packTernary, zerosHost } from "./host.ts";
export type { CellArray, HostTensor } from "./host.ts";
export type { Broadcast, Dim, Shape, ShapeError } from "@fidelity/units";

// Graphs.
export {
  emit,
  emitOne,
  formatType,
  inline,
  inTrace,
  sameShape,
  sameType,
  substitute,
  Tensor,
  topologicalOrder,
  TraceError,
} from "./graph.ts";
export type { Attrs, AttrValue, Graph, Node, Substitution, TensorType } from "./graph.ts";
export { isTensor, isTensorType, parameter, tensorType, trace } from "./trace.ts";
export type { TensorsOf, Traced, TypedTensorType } from "./trace.ts";
export { flattenTree, mapTree, TreeMismatchError } from "./tree.ts";
export type { LeafTest, MapTree, NamedLeaf, Tree } from "./tree.ts";

// What an op is, and all of them.
export {
  DEFAULT_CACHE_BYTES,
  PAST_CACHES_BYTES,
  DEFAULT_REGISTERS,
  IndexRangeError,
  completeTarget,
  requireShape,
  ShapeMismatchError,
} from "./op.ts";
export type {
  BufferHandle,
  CacheBytes,
  CaseDraw,
  Derivative,
  ElementContext,
  Lowering,
  LowerContext,
  MaybeTensor,
  OpCase,
  OpDef,
  Schedule,
  TailRow,
  VectorTarget,
} from "./op.ts";
export { OPS } from "./ops/index.ts";
export type { OpName } from "./ops/index.ts";

// Printing and verifying.
export { printGraph } from "./print.ts";
export { GraphVerifyError, verifyGraph } from "./verify.ts";

// Execution.
export { createInterpreter, ExecutionError, interpret } from "./interpreter.ts";
export { findNonFinite, formatNonFinite } from "./non_finite.ts";
export type { NonFiniteOrigin } from "./non_finite.ts";
export { ArgumentError, jit } from "./jit.ts";
export type { CompiledFunction, HostArguments, HostLeaf, HostResults } from "./jit.ts";
export { ProgramMissingError } from "./device.ts";
export type { CompileOptions, Device, DeviceTensor, Executable, RecalledProgram, Recipe } from "./device.ts";

// Differentiation and batching: what furnace builds on.
export { BatchError, batchTensors, everyExample, moveAxis } from "./derive/batch.ts";
export type { Batched, Batching } from "./derive/batch.ts";
export { closeGraph } from "./derive/close.ts";
export type { ClosedGraph } from "./derive/close.ts";
export { NotDifferentiableError } from "./derive/errors.ts";
export { linearize, tangentType } from "./derive/linearize.ts";
export { transpose as transposeLinear, transposeWith } from "./derive/transpose.ts";
export type { Cotangents } from "./derive/transpose.ts";
export { applyCustomJvp } from "./ops/custom_jvp.ts";
export { applyCustomVjp, requireForwardMode } from "./ops/custom_vjp.ts";
export { keepCarries } from "./ops/scan_derivative.ts";

// The loop IR.
export * from "./loop/index.ts";
export { elementLoopType } from "./ops/loop-types.ts";
export { foldLanes, laneWidths, largerOf } from "./ops/kernels/lanes.ts";
export { bf16RoundOf, cellBytes, elementSize, loadElement, storeElement } from "./ops/cells.ts";
export { broadcastStrides } from "./ops/broadcast.ts";
export { broadcastShapes } from "./ops/elementwise.ts";

// The front end: functions of tensors.
export { abs } from "./ops/abs.ts";
export { add } from "./ops/add.ts";
export { attention, CACHE_DTYPES } from "./ops/attention.ts";
export type { AttentionOptions, AttentionResult, CacheDtype } from "./ops/attention.ts";
export { blockLinear } from "./ops/block_linear.ts";
export { broadcastTo } from "./ops/broadcast.ts";
export { cast } from "./ops/cast.ts";
export { causalConvolution } from "./ops/causal_convolution.ts";
export type { CausalConvolutionResult } from "./ops/causal_convolution.ts";
export { cholesky } from "./ops/cholesky.ts";
export { chooseOutputs, chosenEntries, chosenLinear } from "./ops/chosen_linear.ts";
export { traceOnce } from "./ops/call.ts";
export { checkpoint } from "./ops/checkpoint.ts";
export type { CheckpointOptions } from "./ops/checkpoint.ts";
export { checkpointName } from "./ops/checkpoint_name.ts";
export { concat } from "./ops/concat.ts";
export { cond } from "./ops/cond.ts";
export { constant } from "./ops/constant.ts";
export { cos } from "./ops/cos.ts";
export { crossEntropy } from "./ops/cross_entropy.ts";
export { dequantize } from "./ops/dequantize.ts";
export { diagonal } from "./ops/diagonal.ts";
export { diagonalMatrix } from "./ops/diagonal_matrix.ts";
export { div } from "./ops/div.ts";
export { NUMBER_ARITHMETIC } from "./precision/arithmetic.ts";
export type { Arithmetic } from "./precision/arithmetic.ts";
export { DoubleDoubleFunctions } from "./precision/double_double_functions.ts";
export type { Pair } from "./precision/double_double.ts";
export type { ExtendedFormat } from "./precision/wide.ts";
export { doubleDoubleMap } from "./ops/double_double.ts";
export type { TensorPair } from "./ops/double_double.ts";
export { doubleDoubleMatmul } from "./ops/double_double_matmul.ts";
export { doubleDoubleSum } from "./ops/double_double_sum.ts";
export { dynamicSlice } from "./ops/dynamic_slice.ts";
export { dynamicUpdateSlice } from "./ops/dynamic_update_slice.ts";
export { eigh } from "./ops/eigh.ts";
export { eq } from "./ops/eq.ts";
export { erf } from "./ops/erf.ts";
export { exp } from "./ops/exp.ts";
export { expertLinear } from "./ops/expert_linear.ts";
export { floor } from "./ops/floor.ts";
export { gather } from "./ops/gather.ts";
export { gelu } from "./ops/gelu.ts";
export { geluExact } from "./ops/gelu_exact.ts";
export { generalizedDeltaRule } from "./ops/generalized_delta_rule.ts";
export type { GeneralizedDeltaRuleInputs, GeneralizedDeltaRuleResult } from "./ops/generalized_delta_rule.ts";
export { iota } from "./ops/iota.ts";
export { layerNorm } from "./ops/layer_norm.ts";
export type { LayerNormOptions } from "./ops/layer_norm.ts";
export { le } from "./ops/le.ts";
export { linearRecurrence } from "./ops/linear_recurrence.ts";
export { log } from "./ops/log.ts";
export { logSoftmax } from "./ops/log_softmax.ts";
export { logicalAnd } from "./ops/logical_and.ts";
export { logicalNot } from "./ops/logical_not.ts";
export { lt } from "./ops/lt.ts";
export { inverse, logdet, lu, solve } from "./ops/lu.ts";
export { matmul } from "./ops/matmul.ts";
export type { MatmulOptions } from "./ops/matmul.ts";
export { dotExact, matmulExact } from "./ops/matmul_exact.ts";
export { max } from "./ops/max.ts";
export { mean } from "./ops/mean.ts";
export { min } from "./ops/min.ts";
export { mul } from "./ops/mul.ts";
export { neg } from "./ops/neg.ts";
export { pad } from "./ops/pad.ts";
export { pow } from "./ops/pow.ts";
export { qr } from "./ops/qr.ts";
export { quantizeActivations } from "./ops/quantize_activations.ts";
export { reduceMax } from "./ops/reduce_max.ts";
export { reduceSum } from "./ops/reduce_sum.ts";
export { relu } from "./ops/relu.ts";
export { reshape } from "./ops/reshape.ts";
export { rmsNorm } from "./ops/rms_norm.ts";
export { PAGE_SIZE_MIN, pagedAttention } from "./ops/paged_attention.ts";
export type { PagedAttentionOptions } from "./ops/paged_attention.ts";
export { rope } from "./ops/rope.ts";
export type { RopeOptions, RopePairing } from "./ops/rope.ts";
export type { RopeScaling, Yarn } from "./ops/rope_scaling.ts";
export { round } from "./ops/round.ts";
export { rsqrt } from "./ops/rsqrt.ts";
export { scan } from "./ops/scan.ts";
export type { ScanOptions } from "./ops/scan.ts";
export { scatterAdd } from "./ops/scatter_add.ts";
export { lastWithSameId, scatterRows } from "./ops/scatter_rows.ts";
export { select } from "./ops/select.ts";
export { selectiveScan } from "./ops/selective_scan.ts";
export type { SelectiveScanInputs, SelectiveScanResult } from "./ops/selective_scan.ts";
export { sigmoid } from "./ops/sigmoid.ts";
export { silu } from "./ops/silu.ts";
export { sin } from "./ops/sin.ts";
export { slice, sliceAxis } from "./ops/slice.ts";
export { softmax } from "./ops/softmax.ts";
export { softplus } from "./ops/softplus.ts";
export { argsort, sort, sortWithIndices, takeAlongRows, topK } from "./ops/sort.ts";
export type { Sorted, SortOptions } from "./ops/sort.ts";
export { splat, zerosLike } from "./ops/splat.ts";
export { sqrt } from "./ops/sqrt.ts";
export { square } from "./ops/square.ts";
export { stopGradient } from "./ops/stop_gradient.ts";
export { sub } from "./ops/sub.ts";
export { sumExact } from "./ops/sum_exact.ts";
export { svd } from "./ops/svd.ts";
export type { Svd } from "./ops/svd.ts";
export { tanh } from "./ops/tanh.ts";
export { ternarize } from "./ops/ternarize.ts";
export { ternaryLinear } from "./ops/ternary_linear.ts";
export { transpose } from "./ops/transpose.ts";
export { triangularSolve } from "./ops/triangular_solve.ts";
export type { TriangularSolveOptions } from "./ops/triangular_solve.ts";
export { UnboundedLoopError, whileLoop } from "./ops/while_loop.ts";
export type { WhileLoopOptions } from "./ops/while_loop.ts";
