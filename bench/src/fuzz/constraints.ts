// Constrained output: random logits under 280 random JSON Schemas and some regular expressions and grammars. What comes
// must come to its end, and be what was asked for in the opinion of a validator that knows nothing of grammars.

import {
  ConstraintError,
  createConstraint,
  gbnfGrammar,
  GrammarError,
  jsonSchemaGrammar,
  regexGrammar,
  Sampler,
  TokenVocabulary,
} from "@fidelity/models";
import type { Constraint, Grammar } from "@fidelity/models";
import { invalidity } from "./json-validator.ts";
import { pick, randomFor } from "./random.ts";
import type { Random } from "./random.ts";
import { randomJsonSchema } from "./random-json-schema.ts";
import type { FuzzTarget } from "./target.ts";

const SCHEMA_COUNT = 280;
/** Some are refused: no text can match, or they ask for what a grammar cannot express. */
/** Tokens until the text is led to its end, and until it must have come there. */
const FREE_TOKENS = 40;
const TOKENS_MAX = 3000;

/** Bytes, tokens of several, with characters cut in two, one of no bytes, and one that ends the text. */
const encoder = new TextEncoder();
const PIECES = [
  '{"',
  '": "',
  '", "',
  '"}',
  "}}",
  "]}",
  '":',
  "true",
  "null",
  "abc",
  "name",
  "12",
  "0.",
  "\n  ",
  " [",
  "größe",
  "x y",
  "foo",
  "ab",
];
const TOKENS = [
  ...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)),
  ...PIECES.map((piece) => encoder.encode(piece)),
  ...[Uint8Array.of(0x61, 0xc3), Uint8Array.of(0xb6, 0x22), Uint8Array.of(0xf0, 0x9f), Uint8Array.of(0x98, 0x80)],
  ...[new Uint8Array(0), new Uint8Array(0)],
];
const STOP = TOKENS.length - 1;
const vocabulary = new TokenVocabulary({
  vocabSize: TOKENS.length,
  stopTokens: [STOP],
  tokenBytes: (token) => TOKENS[token],
});

const REGEXES = [
  "[a-c]{2,9}x?",
  "(?:foo|ba[rz])+!",
  "[^a-y]{1,3}",
  "\\d{4}-\\d\\d(?:T\\d+)?",
  "(?:a|ab)(?:c|bcd)(?:d*)",
  "^[\\u00e9-\\u{1f600}]{2}$",
];
/** Grammars, and what their texts match. */
const GRAMMARS: readonly (readonly [grammar: string, match: RegExp])[] = [
  ['root ::= "(" root ")" | [a-z]', /^\(*[a-z]\)*$/],
  ['root ::= item ("," item){0,3} # a list\nitem ::= "x"+ | [^x,"\\n]', /^(x+|[^x,"\n])(,(x+|[^x,"\n])){0,3}$/u],
  ['root ::= ("yes" |\n  "no") end?\nend ::= [.!] end | "\\u00e9"', /^(yes|no)([.!]*é)?$/],
];

interface Case {
  readonly kind: string;
  readonly source: unknown;
  readonly constraint: Constraint;
  /** What is wrong with a text. */
  readonly check: (text: string) => string | undefined;
}

/** Random texts within random grammars. */
export const constraints: FuzzTarget = {
  name: "constraints",
  about: "what random logits write under a schema, a regular expression or a grammar is valid",
  open(seed) {
    const made = new Map<number, Case | string>();
    return {
      run(index) {
        const which = index % (SCHEMA_COUNT + REGEXES.length + GRAMMARS.length);
        const known = made.get(which) ?? makeCase(which, randomFor(seed, -1 - which));
        made.set(which, known);
        if (typeof known === "string") return known;
        const text = write(known.constraint, randomFor(seed, index), index);
        const wrong = known.check(text);
        if (wrong === undefined) return `read: ${known.kind}`;
        throw new Error(`${wrong}: ${JSON.stringify(text)} for ${JSON.stringify(known.source)}`);
      },
    };
  },
};

/** A case, or why there is none. */
function makeCase(which: number, random: Random): Case | string {
  const make = (kind: string, source: unknown, grammar: () => Grammar, check: Case["check"]): Case | string => {
    try {
      return { kind, source, check, constraint: createConstraint(grammar(), vocabulary) };
    } catch (error) {
      if (error instanceof GrammarError) return `refused: ${error.summary}`;
      throw new Error(JSON.stringify(source), { cause: error });
    }
  };
  if (which < SCHEMA_COUNT) {
    const schema = randomJsonSchema(random);
    return make(
      "a schema",
      schema,
      () => jsonSchemaGrammar(schema),
      (text) => invalidity(JSON.parse(text), schema),
    );
  }
  const matches = (pattern: RegExp) => (text: string) =>
    pattern.test(text) ? undefined : `no match of ${String(pattern)}`;
  const rest = which - SCHEMA_COUNT;
  if (rest < REGEXES.length) {
    const source = REGEXES[rest];
    return make(
      "a regular expression",
      source,
      () => regexGrammar(source),
      matches(new RegExp(`^(?:${source})$`, "u")),
    );
  }
  const [source, pattern] = GRAMMARS[rest - REGEXES.length];
  return make("a grammar", source, () => gbnfGrammar(source), matches(pattern));
}

/** Tokens that bring texts to their ends, some of them by way of what a pattern waits for. */
const ENDING = [
  ...Array.from('"}]ntf0)!\\', (sign) => sign.charCodeAt(0)),
  ...["foo", "ab"].map((piece) => 256 + PIECES.indexOf(piece)),
];

function write(constraint: Constraint, random: Random, seed: number): string {
  constraint.reset();
  const temperature = pick(random, [0, 0.7, 1, 3]);
  const sampler = new Sampler(TOKENS.length, { temperature, topK: pick(random, [0, 5]), seed });
  const logits = new Float32Array(TOKENS.length);
  const mask = new Uint32Array((TOKENS.length + 31) >>> 5);
  const written: number[] = [];
  for (let count = 0; !constraint.isFinished; count++) {
    if (count === TOKENS_MAX)
      throw new Error(
        `a text without an end: ${JSON.stringify(new TextDecoder().decode(Uint8Array.from(written.slice(0, 200))))}`,
      );
    for (let token = 0; token < logits.length; token++) logits[token] = random(2 ** 16) / 2 ** 13;
    if (count > FREE_TOKENS) {
      for (const token of ENDING) logits[token] += 40 + random(20);
      logits[STOP] += 80;
    }
    constraint.allowed(mask);
    const token = sampler.sample(logits, mask);
    if (token === STOP && !constraint.isComplete) throw new Error("an end before the end");
    requireRefusal(constraint, mask, random(TOKENS.length));
    constraint.accept(token);
    written.push(...TOKENS[token]);
  }
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(written));
}

/** A token is accepted exactly when it is in the mask. */
function requireRefusal(constraint: Constraint, mask: Uint32Array, token: number): void {
  const isAllowed = ((mask[token >>> 5] >>> (token & 31)) & 1) === 1;
  let isAccepted = true;
  try {
    constraint.clone().accept(token);
  } catch (error) {
    if (!(error instanceof ConstraintError)) throw error;
    isAccepted = false;
  }
  if (isAccepted !== isAllowed)
    throw new Error(`token ${token} is ${isAllowed ? "" : "not "}allowed, but taken otherwise`);
}
