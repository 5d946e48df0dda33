// The public face of `models`: architectures and the blocks they are made of, parameters, the loss, decoding,
// tokenizers, sampling, and random numbers.

export { ArchitectureError, architectures, createModel } from "./architectures.ts";
export type { Architecture } from "./architectures.ts";
export { sampleConfigs } from "./samples.ts";
export { ModelConfigError, SIZE_LIMITS } from "./config.ts";
export type { PlainConfig, PlainValue } from "./config.ts";
export { ModelKindError, PARAMETER_LIMIT_BYTES, requireCausal } from "./model.ts";
export type { Encoder, EncoderHead, ForwardResult, Model, Pages, Past, Standing, StateSize } from "./model.ts";
export { pool } from "./blocks/pooling.ts";
export { createLlama } from "./llama.ts";
export type { LlamaConfig } from "./llama.ts";
export { createMatmulFree } from "./matmul_free.ts";
export type { MatmulFreeConfig } from "./matmul_free.ts";
export { createGatedDeltanet } from "./gated_deltanet.ts";
export type { GatedDeltanetConfig } from "./gated_deltanet.ts";
export { createGla } from "./gla.ts";
export type { GlaConfig } from "./gla.ts";
export { createMamba } from "./mamba.ts";
export type { MambaConfig } from "./mamba.ts";
export { createMamba2 } from "./mamba2.ts";
export type { Mamba2Config } from "./mamba2.ts";
export { createRetnet } from "./retnet.ts";
export type { RetnetConfig } from "./retnet.ts";
export { createRwkv7 } from "./rwkv7.ts";
export type { Rwkv7Config } from "./rwkv7.ts";
export { createXlstm } from "./xlstm.ts";
export type { XlstmConfig } from "./xlstm.ts";

export {
  countParameters,
  fillParameter,
  INIT_STD,
  initialise,
  isParameterSpec,
  namedParameters,
  NARROW_DTYPES,
  parameterTypes,
  residualStd,
} from "./parameters.ts";
export type {
  NarrowDtype,
  ParameterCount,
  ParameterInit,
  ParameterRole,
  ParameterSpec,
  ParameterTree,
  TensorsOf,
} from "./parameters.ts";
export { createParameters, freeParameters, packParameters, ParameterMismatchError } from "./device_parameters.ts";
export type { DeviceParameters } from "./device_parameters.ts";

export { logitsOf } from "./logits.ts";
export { encode } from "./encode.ts";
export type { Encoding } from "./encode.ts";
export { generateTokens } from "./generate-tokens.ts";
export type { GenerateOptions, TokenReader } from "./generate-tokens.ts";
export { languageModelLoss, NO_TARGET } from "./loss.ts";
export type { LanguageModelLoss, LossOptions } from "./loss.ts";
export { OutOfPagesError, poolBytes, PoolOptionError, SequenceError } from "./sequences/pool_options.ts";
export type { PoolMemory, PoolOptions, SavedSequence, Sequence } from "./sequences/pool_options.ts";
export { openSequencePool, SequencePool } from "./sequences/sequence_pool.ts";
export { SessionStateError } from "./sequences/state_format.ts";
export type { StateFormat } from "./sequences/state_format.ts";
export { ContextLimitError, openSession, Session, TokenRangeError } from "./session.ts";
export type { SessionOptions, SessionState } from "./session.ts";

export { BIT_LINEAR_EPSILON, bitLinear } from "./blocks/bit_linear.ts";
export { gatedChannelMixer } from "./blocks/gated_channel_mixer.ts";
export { linear } from "./blocks/linear.ts";
export { lowerBounds, mlgru } from "./blocks/mlgru.ts";
export { norm } from "./blocks/norm.ts";

export { randomPurpose, RandomStream, SeedError } from "./random.ts";
export { LogitsError, Sampler } from "./sampling.ts";
export { beamSearch, bestOf, SearchOptionError } from "./sampling/beam-search.ts";
export type { FoundText, SearchOptions, SearchSession } from "./sampling/beam-search.ts";
export { lookupDrafter, ModelDrafter } from "./sampling/drafters.ts";
export { speculate } from "./sampling/speculative.ts";
export type { Draft, Drafter, SpeculateOptions, SpeculationCount } from "./sampling/speculative.ts";
export { logprobOf, topLogprobs } from "./sampling/logprobs.ts";
export type { TokenLogprob } from "./sampling/logprobs.ts";
export {
  ConstraintError,
  createConstraint,
  gbnfGrammar,
  GrammarError,
  jsonSchemaGrammar,
  regexGrammar,
  SchemaError,
  TokenVocabulary,
} from "./constraints/index.ts";
export type { Constraint, Grammar, GrammarNode } from "./constraints/index.ts";
export { samplerOptions, SamplingOptionError } from "./sampling/options.ts";
export type { SamplerOptions } from "./sampling/options.ts";
export {
  ByteTokenizer,
  CharacterTokenizer,
  GGUF_WORD_NAMES,
  PatternError,
  PipelineTokenizer,
  SentencePieceTokenizer,
  TokenizerError,
  tokenizerFromGguf,
  tokenizerFromHuggingFace,
  tokenizerFromJSON,
  tokenizersDiffer,
  tokenizerToGguf,
  tokenizerToHuggingFace,
  UnknownCharacterError,
  UnknownTokenError,
  VocabularyError,
  writeVocabularyFile,
} from "./tokenizers/index.ts";
export type {
  DecodeOptions,
  EncodeOptions,
  GgufLookup,
  HuggingFaceFiles,
  HuggingFaceTokenizer,
  PipelineSpec,
  SpecialTokens,
  Tokenizer,
  TokenizerSpec,
  TokenStream,
  VocabularyPiece,
} from "./tokenizers/index.ts";
export { importModel, knownForeignNames, namings } from "./names/index.ts";
export type { ForeignFormat, ForeignImport } from "./names/index.ts";
export { ForeignModelError } from "./names/naming.ts";
export type { FileNaming, ForeignModel, MetadataEntry, Naming, ParameterOrigin } from "./names/naming.ts";
export { CHAT_LIMITS, CHAT_TEMPLATES, ChatTemplate, ChatTemplateError } from "./chat/index.ts";
export type { ChatMessage, ChatOptions, ChatTemplateName } from "./chat/index.ts";
export { nearestName } from "./nearest.ts";
export { LAYER_END } from "./blocks/layer.ts";
