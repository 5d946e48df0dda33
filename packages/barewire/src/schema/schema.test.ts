// The reader of the schema language against a corpus of its own, and against the published one (the tests of
// bare-ts/bare) where that lies in a folder beside the checkout.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

import fc from "fast-check";

import * as bare from "../bare.ts";
import { resolveType } from "./ast.ts";
import { equalSchemas, equalTypes } from "./equal.ts";
import { SchemaError } from "./errors.ts";
import { layoutOf } from "../layout/layout.ts";
import { diffSchemas } from "./diff.ts";
import { printSchema, printType } from "./print.ts";
import { readSchema, typeNamed } from "./read.ts";

const VALID = [
  "type A u8",
  "type A void",
  "type Key data[16] type Dict map<Key><str>",
  "type Sized list<f32>[007]",
  "type Level enum { LOW HIGH = 300 HIGHER }",
  "type Any union { | void | u8 = 3 | list<u8> | list<u16> | }",
  "type Mixed struct { snake_case: u8 camelCase: optional<str> type: enum { A_1 B } }",
  "# a comment\ntype Twice struct { a: struct { b: union { str | u8 } } } # the end",
];

const LEGACY = [
  "type Old string",
  "type Old data<16>",
  "type Old [][4]u8",
  "type Old map[str] u8",
  "type Old (u8 | str = 7)",
  "type Old { a: { b: u8 } }",
  "enum Old { ONE TWO }",
  "struct Old { a: u8 }",
  "type Tree struct { children: list<Tree> }",
  "type Early struct { late: Late }\ntype Late u8",
  "type Loose enum { B = 5 A = 2 }",
  "type Even optional<Odd>\ntype Odd struct { next: Even }",
];

// The text, where it is refused by the current draft, why, and whether older drafts refuse it too.
const INVALID: readonly (readonly [text: string, place: string, why: RegExp, always: boolean])[] = [
  ["", "1:1", /definition/, true],
  ["type", "1:5", /name is missing/, true],
  ["type lower u8", "1:6", /capital letter/, true],
  ["type A b8", "1:8", /no such type/, true],
  ["type A string", "1:8", /no such type[\s\S]*try: +str/, false],
  ["type A [4]u8", "1:8", /older drafts/, false],
  ["type A data<4>", "1:12", /definition/, false],
  ["type A data[0]", "1:13", /impossible length/, true],
  ["type A list<u8>[0x10]", "1:17", /decimal/, true],
  ["type A list<u8>[4294967296]", "1:17", /impossible length/, true],
  ["type A struct {\n  a: u8,\n  b: u8\n}", "2:8", /","/, true],
  ["type A struct { a: u8 a: u8 }", "1:23", /stands twice/, true],
  ["type A struct { a: void }", "1:20", /void stands in a struct/, true],
  ["type V void\ntype A optional<V>", "2:17", /void stands in an optional/, true],
  ["type A enum { A B = 0 }", "1:21", /stands twice/, true],
  ["type A enum { A = 3 B = 2 }", "1:25", /ascend/, false],
  ["type A union { u8 = 2 | str = 1 }", "1:31", /ascend/, false],
  ["type A union { u8 | list<str> | list<str> }", "1:33", /a type twice/, true],
  ["type A union { u8 | enum { A B = 2 B = 3 } }", "1:36", /stands twice/, true],
  ["type A map<list<u8>><u8>", "1:12", /such keys/, true],
  ["type A B", "1:8", /not defined/, true],
  ["type Abc u8 type D ABC", "1:20", /try: +Abc/, true],
  ["type A A", "1:8", /itself/, true],
  ["type A list<A>", "1:13", /itself/, false],
  ["type A struct { a: A }", "1:20", /itself/, true],
  ["type A optional<B>\ntype B u8", "1:17", /before its definition/, false],
  ["type A u8\ntype A u16", "2:6", /twice/, true],
  ["type A u8 $", "1:11", /character/, true],
  ["type A union { u8", "1:18", /end of the union is missing/, true],
];

function errorOf(text: string, legacy: boolean): SchemaError | undefined {
  try {
    readSchema(text, { legacy });
  } catch (error) {
    assert.ok(error instanceof SchemaError, String(error));
    return error;
  }
  return undefined;
}

test("what the draft allows is read, and prints back to the same schema", () => {
  for (const text of VALID) {
    for (const legacy of [false, true]) {
      const schema = readSchema(text, { legacy });
      const printed = printSchema(schema);
      assert.ok(equalSchemas(readSchema(printed), schema), printed);
      assert.equal(printSchema(readSchema(printed)), printed);
    }
  }
});

test("what older drafts allowed is read when asked, and prints in the new form", () => {
  for (const text of LEGACY) {
    assert.notEqual(errorOf(text, false), undefined, text);
    const schema = readSchema(text, { legacy: true });
    assert.ok(equalSchemas(readSchema(printSchema(schema), { legacy: true }), schema), text);
  }
});

test("what breaks a rule is refused where it stands, with a reason", () => {
  for (const [text, place, why, always] of INVALID) {
    const error = errorOf(text, false);
    assert.equal(`${error?.line}:${error?.column}`, place, text);
    assert.match(error!.message, why);
    assert.equal(errorOf(text, true) !== undefined, always, text);
  }
});

test("words that JavaScript objects know are no types", () => {
  for (const word of ["__proto__", "constructor", "toString"]) {
    const error = errorOf(`type A ${word}`, false);
    assert.match(error!.message, /no such type/);
    assert.equal(error!.details.hint, undefined);
  }
});

test("an error shows the line and marks the place", () => {
  assert.equal(
    errorOf("type A u8\ntype B struct {\n\tname str\n}", false)?.message,
    [
      ": is missing",
      "  where:    schema:3:7",
      "    3 |  name str",
      "      |       ^",
      "  expected: :",
      "  got:      str",
    ].join("\n"),
  );
});

test("comments on lines of their own become documentation", () => {
  const { definitions } = readSchema(
    "# not this\n\n# A place.\n# Two lines.\ntype A struct {\n  # up\n  y: f64 # no\n}",
  );
  assert.equal(definitions[0].doc, "A place.\nTwo lines.");
  const [{ type }] = definitions;
  assert.equal(type.kind === "struct" && type.fields[0].doc, "up");
  assert.match(
    printSchema({ definitions }),
    /^# A place\.\n# Two lines\.\ntype A struct \{\n {2}# up\n {2}y: f64\n\}\n$/,
  );
});

test("documentation of a union's members stands before their bars or behind them", () => {
  const printed = "type A union {\n  # one\n  | u8\n  # two\n  | str\n}\n";
  for (const text of [printed, "type A union {\n# one\nu8 |\n# two\nstr |\n}"]) {
    assert.equal(printSchema(readSchema(text)), printed);
  }
});

test("members of a union are named by their types, each once", () => {
  const type = resolveType(typeNamed(readSchema("type B u8 type A union { B | u8 | list<u8> | list<u16> = 9 }"), "A"));
  assert.deepEqual(type.kind === "union" && type.members.map(({ name }) => name), ["B", "u8", "list", "list9"]);
});

test("builder and reader give the same schema", () => {
  const text = `
    type Gender enum { FEMALE FLUID MALE = 7 }
    type Person struct { name: str gender: optional<Gender> key: data[4] scores: list<f32> }
    type Group struct { people: map<str><Person> main: union { Person | void } ids: list<uint>[2] }
  `;
  const gender = bare.named("Gender", bare.enumeration({ FEMALE: 0, FLUID: 1, MALE: 7 }));
  const person = bare.named(
    "Person",
    bare.struct({
      name: bare.str,
      gender: bare.optional(gender),
      key: bare.fixedData(4),
      scores: bare.list(bare.f32),
    }),
  );
  const group = bare.struct({
    people: bare.map(bare.str, person),
    main: bare.union({ Person: [0, person], void: [1, bare.nothing] }),
    ids: bare.fixedList(bare.uint, 2),
  });
  const built = bare.schema(bare.named("Group", group));
  assert.ok(equalSchemas(built, readSchema(text)));
  assert.equal(printSchema(built), printSchema(readSchema(text)));
  const value = { name: "Ada", gender: "FLUID", key: Uint8Array.of(1, 2, 3, 4), scores: Float32Array.of(0.5) } as const;
  const bytes = bare.encode(typeNamed(readSchema(text), "Person"), value);
  assert.deepEqual(bare.decode(person, bytes), value);
});

interface Node {
  readonly value: number;
  readonly next: Node | undefined;
}

test("recursion is the same from the builder and from an old schema", () => {
  const node: bare.Schema<Node> = bare.named(
    "Node",
    bare.struct({ value: bare.u8, next: bare.optional(bare.lazy(() => node)) }),
  );
  const read = readSchema("type Node struct { value: u8 next: optional<Node> }", { legacy: true });
  assert.ok(equalSchemas(bare.schema(node), read));
  const list = { value: 1, next: { value: 2, next: undefined } };
  assert.deepEqual(bare.decode(typeNamed(read, "Node"), bare.encode(node, list)), list);
  const other = readSchema("type Node struct { value: u8 next: optional<union { Node }> }", { legacy: true });
  assert.ok(!equalSchemas(bare.schema(node), other));
});

test("names that the language cannot say are put in its terms", () => {
  const shape = bare.union({ circle: [0, bare.f64], square: [1, bare.f64], none: [2, bare.nothing] });
  const colour = bare.enumeration({ red: 0, darkBlue: 1 });
  const schema = bare.schema(bare.named("Shape", shape), bare.named("Colour", colour));
  const printed = printSchema(schema);
  const again = readSchema(printed);
  assert.match(printed, /type Circle f64\n\ntype Square f64\n/);
  assert.match(printed, /RED\n {2}DARK_BLUE\n/);
  const bytes = bare.encode(shape, { kind: "square", value: 2 });
  assert.deepEqual(bare.decode(typeNamed(again, "Shape"), bytes), { kind: "Square", value: 2 });
  assert.throws(() => printSchema(bare.schema(bare.named("A", bare.struct({ Bad: bare.u8 })))), /small letter/);
});

test("types are compared through their names", () => {
  assert.ok(
    equalTypes(
      bare.lazy(() => bare.u8),
      bare.u8,
    ),
  );
  assert.ok(!equalTypes(bare.named("A", bare.u8), bare.u8));
  assert.ok(!equalTypes(bare.u64, bare.u64Safe));
  assert.ok(!equalTypes(bare.list(bare.u8), bare.fixedList(bare.u8, 1)));
});

test("hostile schemas are refused in bounded time", () => {
  const chain = Array.from({ length: 2000 }, (_, i) => `type A${i} struct { a: A${i + 1} b: A${i + 1} }`).join("\n");
  const doubling = Array.from({ length: 200 }, (_, i) => `type A${i + 1} struct { a: A${i} b: A${i} }`).join("\n");
  const cases: [text: string, why: RegExp][] = [
    ["list<".repeat(100_000), /definition/],
    [`type A ${"list<".repeat(100_000)}`, /nested too deeply/],
    [`${chain}\ntype A2000 u8`, /nested too deeply/],
    [`type A0 u8\n${doubling}\ntype A201 B`, /not defined/],
    [" ".repeat(2 ** 20 + 1), /too long/],
    [`type A enum { ${"B ".repeat(50_000)}}`, /stands twice/],
    [`type A data[${"9".repeat(10_000)}]`, /impossible length/],
  ];
  for (const [text, why] of cases) assert.match(errorOf(text, true)!.message, why);
  const names = Array.from({ length: 5000 }, (_, i) => `type A${i} A${i + 1}`).join("\n");
  assert.match(errorOf(`${names}\ntype A5000 u8`, true)!.message, /nested too deeply/);
});

test("schemas of very many parts are read, printed, laid out and compared", () => {
  const members = Array.from({ length: 130_000 }, (_, i) => [`M${i}`, i] as const);
  const large = bare.enumeration(Object.fromEntries(members));
  assert.equal(layoutOf(large).sizeBytes, 4);
  assert.equal(printType(large).split("\n").length, members.length + 2);
  const fields = Array.from({ length: 20_000 }, (_, i) => `a${i}:u8`);
  const text = `type A struct { ${fields.join(" ")} }`;
  const schema = readSchema(text);
  assert.ok(equalSchemas(readSchema(printSchema(schema)), schema));
  assert.deepEqual(diffSchemas(schema, readSchema(text)), []);
  const reversed = readSchema(`type A struct { ${fields.toReversed().join(" ")} }`);
  assert.equal(diffSchemas(schema, reversed).length, 1);
});

test("types are compared along any chain of names", () => {
  // Read from the end, so that no definition is deep by itself; the first type leads to all.
  const links = Array.from({ length: 3000 }, (_, i) => {
    return `type Y${i} struct { x: optional<X${i}> w: optional<X${i + 1}> }\ntype X${i} struct { y: optional<Y${i}> }`;
  });
  const text = `type X3000 u8\n${links.toReversed().join("\n")}`;
  const [a, b] = [0, 1].map(() => typeNamed(readSchema(text, { legacy: true }), "Y0"));
  assert.ok(equalTypes(a, b));
  assert.throws(() => bare.compile(a), /nested too deeply/);
});

test("a fixed size beyond all numbers is a size and not a type without end", () => {
  const nested = Array.from({ length: 40 }).reduce((type) => `list<${String(type)}>[4294967295]`, "u8");
  const schema = readSchema(`type A ${String(nested)}`);
  assert.throws(() => bare.decode(typeNamed(schema, "A"), new Uint8Array(9)), /ends too early/);
});

test("recursion without a name has no text, and is refused by name", () => {
  const list: bare.Schema<unknown> = bare.lazy(() => bare.list(list));
  assert.throws(() => bare.schema(bare.named("A", bare.struct({ list }))), /recursive type has no name/);
  assert.throws(() => printType(list), /recursive type has no name/);
  assert.equal(printType(bare.lazy(() => bare.struct({ a: bare.u8 }))), "struct {\n  a: u8\n}");
});

test("mutated schemas are read or refused, never anything else", () => {
  const pieces = [
    ..."{}<>[]|=: #\n",
    "type",
    "A",
    "u8",
    "list",
    "struct",
    "union",
    "enum",
    "map",
    "0",
    "7",
    "a",
    "\u00e9",
  ];
  const mutation = fc.tuple(fc.constantFrom(...VALID, ...LEGACY), fc.nat(200), fc.nat(5), fc.constantFrom(...pieces));
  const property = fc.property(mutation, fc.boolean(), ([text, at, cut, piece], legacy) => {
    const mutant = text.slice(0, at) + piece + text.slice(at + cut);
    if (errorOf(mutant, legacy) !== undefined) return;
    const schema = readSchema(mutant, { legacy });
    assert.ok(equalSchemas(readSchema(printSchema(schema), { legacy: true }), schema));
  });
  fc.assert(property, { numRuns: 500 });
});

// Where the published invalid schemas are refused.
const PUBLISHED: Readonly<Record<string, string>> = {
  "alias-circular": "1:13",
  "alias-figure": "1:6",
  "alias-itself": "1:12",
  "alias-lowercase": "1:6",
  "alias-missing-type": "1:11",
  "alias-undef": "3:18",
  "alias-wrong-keyword": "1:1",
  "alias-wrong-sep-coma": "1:11",
  "alias-wrong-sep-equal": "1:12",
  "alias-wrong-sep-semicolon": "1:11",
  "data-fixed-empty": "1:21",
  "data-fixed-hex": "1:19",
  "data-fixed-no-end-delim": "2:1",
  "data-fixed-too-large": "1:21",
  "duplicated-alias": "2:6",
  "empty-schema": "1:1",
  "enum-empty": "2:19",
  "enum-legacy": "2:1",
  "enum-no-end-delim": "5:1",
  "enum-no-start-delim": "2:5",
  "enum-repeated-val": "5:5",
  "enum-too-big-val": "4:13",
  "enum-val-lowercase": "2:5",
  "enum-val-non-int": "2:13",
  "enum-val-wrong-sep-coma": "2:10",
  "enum-val-wrong-sep-semicolon": "2:10",
  "list-fixed-circular": "2:23",
  "list-fixed-empty": "1:28",
  "list-fixed-hex": "1:23",
  "list-fixed-legacy": "1:14",
  "list-fixed-too-large": "1:25",
  "list-legacy": "1:13",
  "map-invalid-key-alias": "3:15",
  "map-invalid-key-float": "1:15",
  "map-no-start-key-delim": "1:15",
  "map-wrong-type-sep": "1:18",
  "optional-no-end-delim": "1:29",
  "optional-no-start-delim": "2:25",
  "struct-circular-ref": "2:17",
  "struct-empty": "1:21",
  "struct-field-uppercase": "3:5",
  "struct-field-wrong-sep-coma": "2:14",
  "struct-field-wrong-sep-semicolon": "2:14",
  "struct-no-end-delim": "4:1",
  "struct-no-prop-type-sep": "3:10",
  "struct-no-start-delim": "3:5",
  "struct-repeated-field": "5:5",
  "union-empty": "1:24",
  "union-missing-type-delim": "1:34",
  "union-no-end-delim": "1:46",
  "union-non-terminable-circular": "1:20",
  "union-not-enclosed": "1:15",
  "union-repeated-tag": "1:51",
  "union-repeated-type": "1:21",
  "union-tag-hex": "1:31",
  "union-too-big-tag": "2:61",
  "union-wrong-type-delim": "1:33",
  "use-before-defined": "4:22",
};

const corpus = new URL("../../../../../shared/data/bare-corpus/", import.meta.url);
const filesIn = (folder: string): [name: string, text: string][] =>
  readdirSync(new URL(folder, corpus)).map((file) => [
    file.replace(/\.bare$/, ""),
    readFileSync(new URL(`${folder}/${file}`, corpus), "utf8"),
  ]);

function checkPublished(): void {
  for (const [name, text] of filesIn("valid")) {
    assert.equal(errorOf(text, false), undefined, name);
    assert.equal(errorOf(text, true), undefined, name);
    assert.ok(equalSchemas(readSchema(printSchema(readSchema(text))), readSchema(text)), name);
  }
  for (const [name, text] of filesIn("legacy")) {
    assert.notEqual(errorOf(text, false), undefined, name);
    assert.equal(errorOf(text, true), undefined, name);
  }
  for (const [name, text] of filesIn("invalid")) {
    const error = errorOf(text, false);
    assert.equal(`${error?.line}:${error?.column}`, PUBLISHED[name], name);
  }
}

if (existsSync(corpus)) test("the published corpus", checkPublished);
