// The public face of models: tokenizers, random numbers and sampling.

export { isSeed, philox4x32, randomPurpose, RandomStream, SeedError } from "./random.ts";
export * from "./sampling.ts";
export * from "./tokenizers/index.ts";
