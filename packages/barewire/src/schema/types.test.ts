import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { readSchema } from "./read.ts";
import { generateTypes } from "./types.ts";

const SCHEMA = `
# How loud.
type Level enum { LOW HIGH }
type Uint8Array list<u8>
type Event struct {
  # Seconds since 1970.
  # Not before it.
  time: u64
  level: optional<Level>
  samples: list<f32>
  parts: list<struct { name: str key: data[4] }>
  notes: map<str><list<optional<str>>>
  raw: Uint8Array
}
type Message union { Event | str | void = 9 }
`;

const TYPES = `// Types of a BARE schema. Generated; make changes to the schema.

/** How loud. */
export type Level = "LOW" | "HIGH";

export type Uint8Array_ = Uint8Array;

export interface Event {
  /**
   * Seconds since 1970.
   * Not before it.
   */
  readonly time: bigint;
  readonly level: Level | undefined;
  readonly samples: Float32Array;
  readonly parts: readonly {
    readonly name: string;
    readonly key: Uint8Array;
  }[];
  readonly notes: ReadonlyMap<string, readonly (string | undefined)[]>;
  readonly raw: Uint8Array_;
}

export type Message =
  | { readonly kind: "Event"; readonly value: Event }
  | { readonly kind: "str"; readonly value: string }
  | { readonly kind: "void"; readonly value: undefined };
`;

test("a schema's types are written as TypeScript", () => {
  assert.equal(generateTypes(readSchema(SCHEMA)), TYPES);
});

test("a type that is an optional of itself has one value", () => {
  const schema = readSchema("type A optional<A>\ntype B optional<C>\ntype C optional<B>\ntype D optional<A>", {
    legacy: true,
  });
  const lines = generateTypes(schema)
    .split("\n")
    .filter((line) => line.startsWith("export"));
  assert.deepEqual(lines, [
    "export type A = undefined;",
    "export type B = undefined;",
    "export type C = undefined;",
    "export type D = undefined;",
  ]);
});

test("the compiler takes them", () => {
  const folder = mkdtempSync(join(tmpdir(), "barewire-types-"));
  try {
    const use = `
      const event: Event = {
        time: 5n, level: "LOW", samples: new Float32Array(2), parts: [{ name: "a", key: new Uint8Array(4) }],
        notes: new Map([["a", ["b", undefined]]]), raw: new Uint8Array(3),
      };
      export const text = (message: Message): string => (message.kind === "str" ? message.value : message.kind);
      export const value = text({ kind: "Event", value: event });
    `;
    writeFileSync(join(folder, "types.ts"), generateTypes(readSchema(SCHEMA)) + use);
    const compiler = fileURLToPath(new URL("bin/tsc", import.meta.resolve("typescript/package.json")));
    const options = [
      "--ignoreConfig",
      "--noEmit",
      "--strict",
      "--target",
      "esnext",
      "--types",
      "",
      join(folder, "types.ts"),
    ];
    const { status, stdout } = spawnSync(process.execPath, [compiler, ...options], { encoding: "utf8" });
    assert.equal(status, 0, stdout);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
