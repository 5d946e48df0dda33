// What goes wrong with GPUs, by name.

import { FidelityError } from "@fidelity/units";

/** There is no GPU here that programs can run on, or no driver for it. */
export class CudaUnavailableError extends FidelityError {
  constructor(reason: string) {
    super("there is no GPU to run on", {
      expected: "an NVIDIA GPU of compute capability 8.0 or later, and its driver (libcuda.so.1)",
      got: reason,
      hint: "use the native or the wasm target",
    });
  }
}

/** A call of the CUDA driver failed. After a fault in a kernel every later call on the device fails, too. */
export class CudaError extends FidelityError {
  /** The driver's name of the error, such as CUDA_ERROR_OUT_OF_MEMORY. */
  readonly code: string;

  constructor(call: string, code: string, detail?: string) {
    super("the CUDA driver refused a call", {
      where: call,
      got: detail === undefined ? code : `${code}: ${detail}`,
      ...(code === "CUDA_ERROR_OUT_OF_MEMORY" && { hint: "use a smaller model, batch or context" }),
    });
    this.code = code;
  }
}

/** PTX for a program is neither kept nor can be made here. */
export class PtxMissingError extends FidelityError {
  constructor(program: string, directory: string, cause: Error) {
    super("a program has no PTX, and the tools that make it are missing", {
      where: `${program}: ${directory}`,
      got: cause.message,
      hint: "compile it where the tools are, and bring the directory along (FIDELITY_PTX_CACHE)",
    });
  }
}
