// What every architecture gives. A model is a pure function over tensors, traced where it is needed: training and
// evaluation trace it over whole sequences, decoding over one token and the state that the tokens before it left.
// There is one definition for all of them, and the same one runs on float32 and on packed parameters.

import type { CacheDtype, Recipe, Tensor, TensorType, Tree } from "@fidelity/core";
import { splat } from "@fidelity/core";
import { FidelityError, formatBytes } from "@fidelity/units";
import type { Shape } from "@fidelity/units";
import type { PlainConfig } from "./config.ts";
import { ModelConfigError } from "./config.ts";
import type { ParameterTree, TensorsOf } from "./parameters.ts";
import { countParameters } from "./parameters.ts";

/** How much state to make room for. */
export interface StateSize {
  readonly batch: number;
  /** Tokens that a cache must hold. What is recurrent does not look at it. */
  readonly capacity: number;
  /** What the numbers of caches are stored as; f32 unless said. Recurrent state is f32. */
  readonly cacheDtype?: CacheDtype;
}

/**
 * Where caches lie that sequences of different lengths share: in pages, each of as many tokens as the capacity that
 * `stateTypes` was asked for, for a batch of all pages.
 */
export interface Pages {
  /** The pages of each sequence in order, i32 [batch, pages of a sequence]. Those not reached yet may be any. */
  readonly table: Tensor<Shape, "i32">;
  /** Which rows of all pages, one after the other, are those of the tokens of a call: i32 [batch, time]. */
  readonly rows: Tensor<Shape, "i32">;
}

/** Where the tokens of a call stand. */
export interface Standing {
  /** Number of tokens before the first of this call; where there are pages, or nothing is cached, one a sequence. */
  readonly position: Tensor<Shape, "i32">;
  readonly pages?: Pages;
}

/** What came before the tokens of a call. */
export interface Past<S = Tree<Tensor>> extends Standing {
  readonly state: S;
}

/** Where the tokens of a call stand after this past; at the start of a sequence where there is none. */
export function standingOf(past: Standing | undefined): Standing {
  if (past === undefined) return { position: splat(0, [], "i32") };
  const { position, pages } = past;
  return { position, pages };
}

/** What a model computes. */
export interface ForwardResult<S = Tree<Tensor>> {
  /** Unnormalised log-probabilities of each next token, [batch, time, vocabulary]; an encoder's vectors. */
  readonly logits: Tensor<Shape, "f32">;
  /** The state after the last token, in the structure of `stateTypes`. */
  readonly state: S;
}

/** What can be computed from the vectors of an encoder, each by parameters of its own. */
export type EncoderHead = "pooler" | "classifier" | "maskedLanguageModel";

/** What makes a model an encoder. */
export interface Encoder {
  /** Width of the vectors. */
  readonly dim: number;
  /** How vectors become that of a whole text: their mean, or the first one. */
  readonly pooling: "mean" | "first";
  /** Which heads there are parameters for. */
  readonly heads: readonly EncoderHead[];
  /**
   * Traces a head on the vectors [batch, time, dim] that `forward` gives: pooler [batch, dim], classifier [batch,
   * classes] or masked language model [batch, time, vocabulary], without a softmax. Throws `ModelConfigError` for a
   * head that there is not.
   */
  head(name: EncoderHead, parameters: Tree<Tensor>, vectors: Tensor<Shape, "f32">): Tensor<Shape, "f32">;
}

/** An architecture with its sizes. It holds no values. */
export interface Model {
  readonly architecture: string;
  /** Everything needed to build the model again with `createModel`. */
  readonly config: PlainConfig;
  readonly vocabSize: number;
  /** The most tokens that a sequence may have; null where there is no limit. */
  readonly contextLimit: number | null;
  readonly parameters: ParameterTree;
  /** In encoders: every token sees all others, so that there is no state and no next token. */
  readonly encoder?: Encoder;
  stateTypes(size: StateSize): Tree<TensorType>;
  /**
   * Traces the model over `tokens`, i32 [batch, time]. Without `past` they start the sequence, and the state that comes
   * out has a capacity of `time`.
   * @param chosen the tokens whose logits are wanted after a single token, as a list of `chooseOutputs` of core; the
   *   others may come out as anything but NaN
   */
  forward(
    parameters: Tree<Tensor>,
    tokens: Tensor<Shape, "i32">,
    past?: Past,
    chosen?: Tensor<Shape, "i32">,
  ): ForwardResult;
}

/** A model as its own file writes it, with the structure of its parameters and state in the types. */
export interface ModelDefinition<P, S> extends Omit<Model, "parameters" | "stateTypes" | "forward"> {
  readonly parameters: P;
  stateTypes(size: StateSize): Tree<TensorType>;
  forward(
    parameters: TensorsOf<P>,
    tokens: Tensor<Shape, "i32">,
    past: Past<S> | undefined,
    chosen: Tensor<Shape, "i32"> | undefined,
  ): ForwardResult<S>;
}

/** A model that cannot do what it was asked for. */
export class ModelKindError extends FidelityError {}

/** Throws `ModelKindError` for an encoder, which has no next token. */
export function requireCausal(model: Model, purpose: string): void {
  if (model.encoder === undefined) return;
  throw new ModelKindError(`a ${model.architecture} model is an encoder and gives no next token`, {
    where: purpose,
    expected: "a causal language model",
    got: `an encoder of architecture ${model.architecture}`,
    hint: "use `fidelity embed` for its vectors, or another model",
  });
}

const ofConfig = new WeakSet<Model>();

/** Notes of a model that its configuration says all of it, `forward` included, as those of `createModel`; gives it. */
export function madeOfConfig(model: Model): Model {
  ofConfig.add(model);
  return model;
}

/**
 * What programs of a model are recalled by (`Recipe` of core), but for their shapes; undefined where its configuration
 * does not say all of it.
 */
export function recipeOf(model: Model): Recipe | undefined {
  return ofConfig.has(model) ? { source: SOURCE, key: [JSON.stringify(model.config)] } : undefined;
}

/** The folder of all models; nowhere where modules have no places, as in bundles. */
const SOURCE = URL.canParse(".", import.meta.url) ? new URL(".", import.meta.url).href : "";

/** The most bytes that the parameters of a model may have in float32. */
export const PARAMETER_LIMIT_BYTES = 2 ** 36;

/**
 * Forgets the structure of a model's trees, which only its own file needs. Throws `ModelConfigError` for a model that
 * is too large, before anybody allocates for it.
 */
export function defineModel<P, S>(definition: ModelDefinition<P, S>): Model {
  const model = definition as unknown as Model;
  const { parameters, float32Bytes } = countParameters(model.parameters);
  if (float32Bytes <= PARAMETER_LIMIT_BYTES) return model;
  throw new ModelConfigError("the model is too large", {
    where: `configuration of a ${model.architecture} model`,
    expected: `at most ${formatBytes(PARAMETER_LIMIT_BYTES)} of parameters in float32`,
    got: `${parameters} parameters, ${formatBytes(float32Bytes)}`,
    hint: "choose a smaller dim, layerCount or vocabSize",
  });
}
