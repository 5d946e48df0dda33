// The rotary positions that a configuration describes, as options of `rope`.

import type { RopeOptions, RopePairing } from "@fidelity/core";
import type { RotationConfig } from "./decoder_config.ts";

export function rotationOf(
  config: RotationConfig & { readonly contextLength: number },
  pairing: RopePairing,
): RopeOptions {
  const { ropeTheta: theta, ropeFactors: frequencyFactors, ropeScaling, ropeScalingFactor: factor = 1 } = config;
  return {
    theta,
    pairing,
    ...(frequencyFactors !== undefined && { frequencyFactors }),
    ...(ropeScaling === "linear" && { linearScale: factor }),
    ...(ropeScaling === "yarn" && {
      yarn: {
        factor,
        originalContext: config.ropeOriginalContext ?? config.contextLength,
        betaFast: config.ropeFastTurns,
        betaSlow: config.ropeSlowTurns,
        attnFactor: config.ropeMagnitude,
      },
    }),
  };
}
