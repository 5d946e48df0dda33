// What a model file says beside its tensors, in one form: GGUF's keys, and the fields of a configuration in JSON.

import type { GgufSource } from "./gguf.ts";

/** What a model file says beside its tensors. */
export interface SourceMetadata {
  /** GGUF's keys, or the first-level fields of a configuration. */
  readonly keys: readonly string[];
  /**
   * An entry of GGUF's metadata, arrays decoded anew at each call and 64-bit integers as numbers, or as text above
   * 2^53; or a field of config.json, of a container's configuration or of llama2.c's header, by its path with dots.
   * Undefined where there is none.
   */
  get(key: string): unknown;
}

export function ggufMetadata({ metadata, config }: GgufSource): SourceMetadata {
  const get = (key: string): unknown => {
    const entry = metadata.get(key);
    return entry?.type === "array" ? entry.values() : entry && config[key];
  };
  return { keys: [...metadata.keys()], get };
}

/** The fields of parsed JSON by their paths. */
export function configMetadata(config: unknown): SourceMetadata {
  return { keys: isRecord(config) ? Object.keys(config) : [], get: (key) => key.split(".").reduce(fieldOf, config) };
}

function fieldOf(value: unknown, name: string): unknown {
  return isRecord(value) && Object.hasOwn(value, name) ? value[name] : undefined;
}

/** Whether parsed JSON is an object. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
