// All that is fuzzed by cases; `channel-kill.ts` beside it kills processes.

import { barePeer } from "./bare-peer.ts";
import { constraints } from "./constraints.ts";
import { containers } from "./containers.ts";
import { generations } from "./generations.ts";
import { ggufFiles } from "./gguf-files.ts";
import { http } from "./http.ts";
import { kernelNatives } from "./kernel-natives.ts";
import { kernelRuns } from "./kernel-runs.ts";
import { kernels } from "./kernels.ts";
import { messages } from "./messages.ts";
import { onnxFiles } from "./onnx-files.ts";
import { safetensorsFiles, safetensorsIndexes } from "./safetensors-files.ts";
import { schemas } from "./schemas.ts";
import type { FuzzTarget } from "./target.ts";
import { tokenizers } from "./tokenizers.ts";
import { views } from "./views.ts";

export const TARGETS: readonly FuzzTarget[] = [
  schemas,
  messages,
  views,
  containers,
  http,
  barePeer,
  kernels,
  kernelRuns,
  kernelNatives,
  ggufFiles,
  safetensorsFiles,
  safetensorsIndexes,
  onnxFiles,
  tokenizers,
  constraints,
  generations,
];
