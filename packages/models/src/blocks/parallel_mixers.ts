// Two mixers that read the same input and whose outputs are added, as attention and a state space stand side by side in
// the layers of Falcon-H1 (Zuo et al. 2025, arXiv 2507.22448).

import type { Tensor, TensorType, Tree } from "@fidelity/core";
import { add } from "@fidelity/core";
import type { ParameterTree } from "../parameters.ts";
import type { TokenMixer } from "./token_mixer.ts";

/** The trees of both, as `attention` and `recurrent`. */
type Both<T> = { readonly attention: T; readonly recurrent: T };

/** The mixer of both. Its parameters and its state are those of the two, by their names. */
export function parallelMixers({ attention, recurrent }: Both<TokenMixer>): TokenMixer {
  const both: Both<ParameterTree> = { attention: attention.parameters, recurrent: recurrent.parameters };
  return {
    parameters: both,
    stateTypes: (size): Tree<TensorType> => ({
      attention: attention.stateTypes(size),
      recurrent: recurrent.stateTypes(size),
    }),
    mix(parameters, x, past) {
      const mixed = (name: keyof Both<TokenMixer>, mixer: TokenMixer): ReturnType<TokenMixer["mix"]> => {
        const state = past && (past.state as Both<Tree<Tensor>>)[name];
        const before = past && state && { ...past, state };
        return mixer.mix((parameters as Both<Tree<Tensor>>)[name], x, before);
      };
      const [first, second] = [mixed("attention", attention), mixed("recurrent", recurrent)];
      return {
        output: add(first.output, second.output),
        state: { attention: first.state, recurrent: second.state },
      };
    },
  };
}
