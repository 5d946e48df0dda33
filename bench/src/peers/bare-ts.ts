// @bare-ts/lib (0.4) with code that @bare-ts/tools generates from the schema when the bench starts, as its users
// generate theirs when they build. The generated module is imported from memory.

import { Config, transform } from "@bare-ts/tools";

/** What the generated module offers: `encodeName` and `decodeName` for each type that nothing else uses. */
export type BareTsModule = Readonly<Record<string, (from: never, config?: object) => unknown>>;

/** Generates and loads the codec of a BARE schema. */
export async function bareTsModule(schema: string): Promise<BareTsModule> {
  const source = transform(schema, Config({ generator: "js", useUndefined: true }));
  const bound = source.replace('"@bare-ts/lib"', JSON.stringify(import.meta.resolve("@bare-ts/lib")));
  const module: BareTsModule = await import(`data:text/javascript,${encodeURIComponent(bound)}`);
  return module;
}
