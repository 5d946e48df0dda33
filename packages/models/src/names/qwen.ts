// Qwen 2 and 3 in files.

import { decoderFromHuggingFace, ggufDecoder, huggingFaceMetadata, huggingFaceOrigin } from "./decoder.ts";
import type { FileNaming, ForeignModel, Naming } from "./naming.ts";
import { flagOf, ForeignModelError } from "./naming.ts";

function naming(architecture: "qwen2" | "qwen3", headDim: number | undefined): Naming {
  const huggingFace: FileNaming = {
    names: [architecture],
    config(file: ForeignModel) {
      if (flagOf(file, "use_sliding_window", false)) throw windowed(file);
      return {
        ...decoderFromHuggingFace(file, { tiedEmbeddings: false, headDim }),
        architecture,
      };
    },
    origin: huggingFaceOrigin,
    metadata: (config) => huggingFaceMetadata(architecture, config),
  };
  return { gguf: ggufDecoder([architecture], () => ({ architecture })), huggingFace };
}

function windowed(file: ForeignModel): ForeignModelError {
  return new ForeignModelError("Qwen models with sliding windows are not supported", {
    where: `${file.where}, use_sliding_window`,
    expected: "false",
    got: "true",
    hint: "set it to false: within the window the model computes the same",
  });
}

export const qwen2Naming: Naming = naming("qwen2", undefined);
export const qwen3Naming: Naming = naming("qwen3", 128);
