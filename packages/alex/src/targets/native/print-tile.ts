// Matrix registers as AMX has them: a thread sets their shape before it uses them, and gives them up at the end of a
// kernel, so that a thread that sleeps has none to save. The process asks the system for them once (amx.node.ts).
// After Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.

import { TILE } from "@fidelity/core";
import type { Block, Kernel, TileInst } from "@fidelity/core";
import { NativeTargetError } from "./errors.ts";
import type { Printer } from "./print-operation.ts";

/** Whether a kernel uses matrix registers. */
export function usesTiles({ body }: Kernel): boolean {
  const inBlock = (block: Block): boolean =>
    block.insts.some((inst) => {
      if (inst.op === "for") return inBlock(inst.body);
      if (inst.op === "if") return inBlock(inst.then) || inBlock(inst.else);
      return inst.op.startsWith("tile_");
    });
  return inBlock(body);
}

/** The 64 bytes that ldtilecfg reads, as 64-bit words: palette 1, bytes of a row of each tile, rows of each tile. */
function configuration(): bigint[] {
  const view = new DataView(new ArrayBuffer(64));
  view.setUint8(0, 1);
  for (let tile = 0; tile < TILE.count; tile++) {
    view.setUint16(16 + 2 * tile, TILE.rowBytes, true);
    view.setUint8(48 + tile, TILE.rows);
  }
  return Array.from({ length: 8 }, (_, i) => view.getBigInt64(8 * i, true));
}

/** Adds the shaping of all matrix registers, at the beginning of a kernel. */
export function printTileBegin(out: Printer): void {
  if (!out.machine.features.has("amx-int8")) {
    throw new NativeTargetError("the machine has no matrix registers", {
      got: out.machine.name,
      hint: "compile for a target whose `tiles` is false",
    });
  }
  const one = out.define("llvm.mlir.constant(1 : i64) : i64");
  const block = out.define(`llvm.alloca ${one} x !llvm.array<8 x i64> {alignment = 64 : i64} : (i64) -> !llvm.ptr`);
  configuration().forEach((word, i) => {
    const value = out.define(`llvm.mlir.constant(${word} : i64) : i64`);
    const at = out.define(`llvm.getelementptr ${block}[${i}] : (!llvm.ptr) -> !llvm.ptr, i64`);
    out.line(`llvm.store ${value}, ${at} : i64, !llvm.ptr`);
  });
  out.line(`llvm.call_intrinsic "llvm.x86.ldtilecfg"(${block}) : (!llvm.ptr) -> ()`);
}

/** Adds the release of all matrix registers, at the end of a kernel. */
export function printTileEnd(out: Printer): void {
  out.line('llvm.call_intrinsic "llvm.x86.tilerelease"() : () -> ()');
}

/** Adds an operation on matrix registers. */
export function printTile(inst: TileInst, out: Printer): void {
  const number = (tile: number): string => out.define(`llvm.mlir.constant(${tile} : i8) : i8`);
  switch (inst.op) {
    case "tile_zero":
      return out.line(`llvm.call_intrinsic "llvm.x86.tilezero"(${number(inst.tile)}) : (i8) -> ()`);
    case "tile_load":
    case "tile_store": {
      const name = inst.op === "tile_load" ? "llvm.x86.tileloadd64" : "llvm.x86.tilestored64";
      const stride = out.define(`llvm.mlir.constant(${inst.stride} : i64) : i64`);
      const operands = [number(inst.tile), out.pointer(inst.address, inst.offset), stride].join(", ");
      return out.line(`llvm.call_intrinsic "${name}"(${operands}) : (i8, !llvm.ptr, i64) -> ()`);
    }
    case "tile_multiply": {
      const operands = [inst.sums, inst.left, inst.right].map(number).join(", ");
      return out.line(`llvm.call_intrinsic "llvm.x86.tdpbsud"(${operands}) : (i8, i8, i8) -> ()`);
    }
  }
}
