import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ByteTokenizer } from "../tokenizers/byte.ts";
import { CharacterTokenizer } from "../tokenizers/character.ts";
import { charactersOf, codePoints, inverted, utf8Sequences } from "./code-points.ts";
import {
  ConstraintError,
  createConstraint,
  gbnfGrammar,
  GrammarError,
  jsonSchemaGrammar,
  regexGrammar,
  SchemaError,
  TokenVocabulary,
} from "./index.ts";
import type { Constraint, Grammar } from "./index.ts";

const encoder = new TextEncoder();
const bytes = new TokenVocabulary(new ByteTokenizer());

/** Whether a text is one that the grammar derives. */
function derives(grammar: Grammar, text: string): boolean {
  const constraint = createConstraint(grammar, bytes);
  const mask = new Uint32Array(8);
  for (const byte of encoder.encode(text)) {
    if (constraint.isFinished) return false;
    constraint.allowed(mask);
    if (((mask[byte >>> 5] >>> (byte & 31)) & 1) === 0) return false;
    constraint.accept(byte);
  }
  return constraint.isComplete;
}

function assertDerives(grammar: Grammar, yes: readonly string[], no: readonly string[]): void {
  for (const text of yes) assert.ok(derives(grammar, text), text);
  for (const text of no) assert.ok(!derives(grammar, text), text);
}

test("byte sequences spell exactly the characters of a set", () => {
  const point = fc.oneof(
    fc.integer({ min: 0, max: 0x10ffff }),
    fc.constantFrom(0x7f, 0x80, 0x7ff, 0x800, 0xffff, 0x10000),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(point, point), { maxLength: 3 }), point, (pairs, probe) => {
      const set = codePoints(pairs.map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const));
      const spelled = encoder.encode(String.fromCodePoint(probe));
      const isSurrogate = probe >= 0xd800 && probe <= 0xdfff;
      const isIn = !isSurrogate && set.some(([first, last]) => probe >= first && probe <= last);
      const fits = (sequences: ReturnType<typeof utf8Sequences>): number =>
        sequences.filter(
          (sequence) =>
            sequence.length === spelled.length &&
            sequence.every(([first, last], at) => spelled[at] >= first && spelled[at] <= last),
        ).length;
      if (isSurrogate) return;
      assert.equal(fits(utf8Sequences(set)), isIn ? 1 : 0);
      assert.equal(fits(utf8Sequences(inverted(set))), isIn ? 0 : 1);
    }),
  );
  assert.deepEqual(utf8Sequences(charactersOf("a")), [[[0x61, 0x61]]]);
});

test("regular expressions match as the engine's own, over random texts", () => {
  const sources = [
    "(a|ab)(c|bcd)*d?",
    "[^ab]{2,3}|a+?",
    "(?:a{2}|b){1,2}c*",
    "\\w+-\\d",
    ".é|[\\u{1F600}-\\u{1F602}\\n]",
    "()|a(|b)",
  ];
  const text = fc.string({ unit: fc.constantFrom(..."abcd-1é😀\n"), maxLength: 6 });
  for (const source of sources) {
    const [grammar, expected] = [regexGrammar(source), new RegExp(`^(?:${source})$`, "u")];
    fc.assert(
      fc.property(text, (value) => assert.equal(derives(grammar, value), expected.test(value))),
      { numRuns: 200, seed: 3 },
    );
  }
  for (const wrong of ["a(?=b)", "(a)\\1", "a^b", "a\\b", "*a", "(a", "a)", "[z-a]", "a{3,1}", "\\p{Nope}", "(a$)b"]) {
    assert.throws(() => regexGrammar(wrong), GrammarError, wrong);
  }
  assert.throws(() => regexGrammar("x(?=y)"), /character 1 of \/x\(\?=y\)\/(.|\n)*expected: \(\.\.\.\)/);
});

test("GBNF grammars derive what llama.cpp's do", () => {
  const list = gbnfGrammar(
    '# items\nroot ::= item ("," ws item)*\nitem ::= [a-z]+ | "\\"" [^"\\n]{1,3} "\\""\nws ::= [ \\t]*\n',
  );
  assertDerives(list, ["a", 'ab,"x y", c'], ["", "a,", '""', '"abcd"', "a\n"]);
  const nested = gbnfGrammar('root ::= "(" root ")" |\n  "[" root "]" | "."');
  assertDerives(nested, [".", "([.])", `${"(".repeat(300)}.${")".repeat(300)}`], ["([.)]", "(.", ".)"]);
  assertDerives(gbnfGrammar('root ::= (\n"a"\n|\n"b"){2} .?'), ["ab", "bbé"], ["a", "abcd"]);
  const wrong: readonly (readonly [source: string, message: RegExp])[] = [
    ['root ::= "a', /line 1, column 12(.|\n)*got: +its end/],
    ["root ::= b", /no rule b(.|\n)*where: +the rule root/],
    ['start ::= "a"', /a rule with the name root/],
    ['root ::= root "a" | "b"', /begins with itself(.|\n)*root -> root/],
    ['root ::= empty root | "b"\nempty ::= "x"?', /begins with itself/],
    ['root ::= "a" root', /no text can match/],
    ['root ::= "a"\nroot ::= "b"', /one rule root/],
    ["root ::= <[12]>", /tokens by their ids are not supported/],
    ['root ::= "\\q"', /\\xHH/],
    ['root ::= ("a"){1000}{1000}{1000}', /too large/],
  ];
  for (const [source, message] of wrong)
    assert.throws(() => createConstraint(gbnfGrammar(source), bytes), message, source);
});

test("a way that has no end is never taken", () => {
  // After "a", the second option needs what can never be; after "b", a rule that always needs itself.
  const grammar = gbnfGrammar('root ::= "a" ("x" | "y" []) | "b" loop | "c"\nloop ::= "d" loop');
  assertDerives(grammar, ["ax", "c"], ["ay", "b"]);
});

const tokens = ["a", "b", "ab", "abc", "b,", ",a", "é", "\xff", "", "abcd", "c", "ab"].map((text) =>
  encoder.encode(text),
);
tokens[7] = Uint8Array.of(0xc3); // half a character
tokens.push(Uint8Array.of(0xa9, 0x61), encoder.encode(","), new Uint8Array(0));
const stop = tokens.length - 1;
const pieces = new TokenVocabulary({
  vocabSize: tokens.length,
  stopTokens: [stop],
  tokenBytes: (token) => tokens[token],
});

function allowedTokens(constraint: Constraint): number[] {
  const mask = new Uint32Array(1);
  constraint.allowed(mask);
  return tokens.map((_, token) => token).filter((token) => (mask[0] >>> token) & 1);
}

test("a mask has the tokens that `accept` takes, among them parts and twins", () => {
  const constraint = createConstraint(regexGrammar("ab+(,a)?|éa"), pieces);
  assert.deepEqual(allowedTokens(constraint), [0, 2, 6, 7, 11]);
  for (const text of [[0], [0, 1], [2, 4], [7], [2, 5]]) {
    constraint.reset();
    for (const token of text) constraint.accept(token);
    const allowed = allowedTokens(constraint);
    for (const token of tokens.keys()) {
      const copy = constraint.clone();
      if (allowed.includes(token)) copy.accept(token);
      else assert.throws(() => copy.accept(token), ConstraintError);
    }
    assert.equal(allowed.includes(stop), constraint.isComplete);
  }
});

test("masks that repetitions share are right at every count, near their ends too", () => {
  for (const source of ["(ab|c){3,40}x?", "((a|bc?){2,30},){1,12}", "(a{8,20}b?){9}", "a{30}(b|c){0,30}"]) {
    const constraint = createConstraint(regexGrammar(source), pieces);
    for (let seed = 0; seed < 4; seed++) {
      constraint.reset();
      for (let count = 0; !constraint.isFinished; count++) {
        const allowed = allowedTokens(constraint);
        for (const token of tokens.keys()) {
          let isTaken = true;
          try {
            constraint.clone().accept(token);
          } catch {
            isTaken = false;
          }
          assert.equal(allowed.includes(token), isTaken, `${source}: token ${token} after ${count}`);
        }
        const going = allowed.filter((token) => token !== stop);
        constraint.accept(going.length === 0 ? stop : going[(count * 7 + seed) % going.length]);
      }
    }
  }
});

test("a text ends by its last token, by a stop token, or where the vocabulary cannot go on", () => {
  const constraint = createConstraint(regexGrammar("ab?"), pieces);
  assert.throws(() => constraint.accept(stop), ConstraintError);
  constraint.accept(0);
  assert.deepEqual([constraint.isComplete, constraint.isFinished], [true, false]);
  const copy = constraint.clone();
  copy.accept(stop);
  assert.ok(copy.isFinished && !constraint.isFinished);
  assert.throws(() => copy.accept(1), ConstraintError);
  constraint.accept(1);
  assert.ok(constraint.isFinished);
  assert.deepEqual(allowedTokens(constraint), [stop]);
  const poor = new TokenVocabulary(new CharacterTokenizer("ab"));
  const stuck = createConstraint(regexGrammar("a[^ab]"), poor);
  stuck.accept(0);
  assert.throws(() => stuck.allowed(new Uint32Array(1)), /vocabulary that can spell what the grammar asks for/);
});

test("JSON Schemas: what comes out, and what does not", () => {
  const person = jsonSchemaGrammar({
    type: "object",
    properties: {
      name: { type: "string", maxLength: 5 },
      age: { type: "integer", minimum: 0, maximum: 130 },
      tags: { type: "array", items: { enum: ["x", 2] } },
    },
    required: ["name"],
  });
  assertDerives(
    person,
    ['{"name":"Ada"}', '{ "name": "\\"\\n\\u0001é😀", "age": 130 }', '{\n  "name":"","tags": ["x", 2]}'],
    [
      "{}",
      '{"age":1}',
      '{"name":"abcdef"}',
      '{"name":"a","age":131}',
      '{"name":"a","age":01}',
      '{"name":"a","x":1}',
      '{"name":"a",}',
    ],
  );
  const list = jsonSchemaGrammar({
    $defs: { node: { type: "object", properties: { v: true, next: { $ref: "#/$defs/node" } }, required: ["v"] } },
    anyOf: [{ $ref: "#/$defs/node" }, { type: "null" }],
  });
  assertDerives(list, ["null", '{"v":1,"next":{"v":[{"a":null}]}}'], ['{"next":null}', '{"v":1,"next":null}']);
  const others = jsonSchemaGrammar({ properties: { ab: { type: "null" } }, additionalProperties: { type: "boolean" } });
  assertDerives(
    others,
    ['{"ab":null,"a":true,"abc":false}', '{"":true}', "{}"],
    ['{"ab":true}', '{"a":1}', '{"ab":null,"ab":true}'],
  );
  const tuple = jsonSchemaGrammar({
    prefixItems: [{ type: "null" }, { type: "boolean" }],
    items: { const: 0 },
    minItems: 1,
    maxItems: 3,
  });
  assertDerives(tuple, ["[null]", "[null,true]", "[null, true, 0]"], ["[]", "[true]", "[null,0]", "[null,true,0,0]"]);
  const merged = jsonSchemaGrammar({
    allOf: [
      { properties: { a: { type: "integer", minimum: 3 } }, required: ["a"] },
      { properties: { a: { maximum: 4 } }, type: "object" },
    ],
  });
  assertDerives(merged, ['{"a":3}', '{"a":4}'], ['{"a":5}', "{}"]);
  assertDerives(jsonSchemaGrammar({ type: "string", pattern: 'a"[^x]$' }), ['"za\\"\\n"'], ['"a\\"x"', '"a\\""']);
  assertDerives(
    jsonSchemaGrammar({ type: "string", format: "date" }),
    ['"2024-02-28"'],
    ['"2024-02-30"', '"2024-2-1"'],
  );
});

test("numbers between bounds, over random ones", () => {
  const bound = fc.integer({ min: -3000, max: 3000 });
  const value = fc.oneof(
    bound.map((whole) => whole / 100),
    bound.map((whole) => Math.round(whole / 100)),
  );
  fc.assert(
    fc.property(
      bound,
      bound,
      fc.boolean(),
      fc.boolean(),
      fc.array(value, { minLength: 5 }),
      (a, b, noLow, noHigh, values) => {
        const [low, high] = [Math.min(a, b) / 100, Math.max(a, b) / 100];
        const bounds = {
          [noLow ? "exclusiveMinimum" : "minimum"]: low,
          [noHigh ? "exclusiveMaximum" : "maximum"]: high,
        };
        for (const type of ["integer", "number"]) {
          let constraint: Grammar;
          try {
            constraint = jsonSchemaGrammar({ type, ...bounds });
            createConstraint(constraint, bytes);
          } catch (error) {
            assert.match(String(error), /no text can match/);
            continue;
          }
          for (const probe of [...values, low, high, 0]) {
            const isIn = (noLow ? probe > low : probe >= low) && (noHigh ? probe < high : probe <= high);
            const isOfType = type === "number" || Number.isInteger(probe);
            assert.equal(
              derives(constraint, String(probe)),
              isIn && isOfType,
              `${probe} in ${JSON.stringify(bounds)}, ${type}`,
            );
          }
        }
      },
    ),
    { numRuns: 15, seed: 5 },
  );
});

test("what a grammar cannot express is refused by its keyword and place", () => {
  const wrong: readonly (readonly [schema: unknown, message: RegExp])[] = [
    [{ properties: { a: { not: {} } } }, /"not" cannot be used\n {2}where: +#\/properties\/a/],
    [{ items: { type: "number", multipleOf: 0.1 } }, /"multipleOf"(.|\n)*#\/items/],
    [{ type: "array", uniqueItems: true }, /"uniqueItems"/],
    [{ maxLenght: 3 }, /"maxLenght"/],
    [{ type: "text" }, /"type"(.|\n)*got: +text/],
    [{ $ref: "other.json" }, /"\$ref"/],
    [{ $ref: "#/$defs/none" }, /"\$ref"(.|\n)*a place that the schema has/],
    [{ oneOf: [{ type: "number" }, { minimum: 3 }] }, /"oneOf"(.|\n)*options 0 and 1(.|\n)*anyOf/],
    [{ type: "string", pattern: "^a+$", maxLength: 3 }, /"pattern"(.|\n)*0 to 3 characters/],
    [{ type: "string", pattern: "(?=a)" }, /"pattern"(.|\n)*\(\?:/],
    [{ type: "string", format: "colour" }, /"format"(.|\n)*date-time/],
    [{ type: "string", minLength: -1 }, /"minLength"(.|\n)*whole number/],
    [{ $defs: { a: { allOf: [{ $ref: "#/$defs/a" }, { type: "null" }] } }, $ref: "#/$defs/a" }, /combines itself/],
    ["schema", /a schema is an object/],
  ];
  for (const [schema, message] of wrong) {
    assert.throws(
      () => jsonSchemaGrammar(schema),
      (error) => {
        assert.ok(error instanceof SchemaError, String(error));
        assert.match(error.message, message);
        return true;
      },
    );
  }
  assert.throws(() => createConstraint(jsonSchemaGrammar({ enum: [] }), bytes), /no text can match/);
});
