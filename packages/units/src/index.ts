// The public face of `units`: dims and shapes in the type system, sizes and positions, and the root of every error.

export { FidelityError, InternalError, invariant } from "./errors.ts";
export type { ErrorDetails } from "./errors.ts";
export type { DivideUnits, MultiplyUnits, NamedUnits, Unit, UnitName, UnitOf } from "./physical.ts";
export { addr, bytes, formatBytes, QuantityError } from "./quantity.ts";
export type { Addr, Bytes } from "./quantity.ts";
export type {
  Broadcast,
  BroadcastDim,
  Checked,
  Dim,
  Drop,
  Permute,
  ReplaceAt,
  SameDim,
  SameShape,
  Shape,
  ShapeError,
  ShowShape,
  SwapLastTwo,
} from "./dims.ts";
