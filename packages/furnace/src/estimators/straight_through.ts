// The plain straight-through estimator (Bengio, Leonard, Courville 2013, arXiv 1308.3432; for ternary weights Ma et al.
// 2024, arXiv 2402.17764): quantising counts as the identity, dL/dw = dL/dq.

import { ternarize } from "@fidelity/core";
import type { Estimator } from "./estimator.ts";

export const straightThrough: Estimator = {
  name: "straight-through",
  summary: "the gradient of the codes as it is",
  estimate: ({ weight }) => ({ weight: ternarize(weight) }),
};
