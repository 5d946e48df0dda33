// Reading structs as fast as code that was generated for them, without generating code. An engine learns from a
// function's past which shapes and callees it meets, and compiles it for those; a function that serves every struct
// meets all of them, and stays slow (2.5 times as slow, for six fields). So here is one function many times over: each
// copy serves one struct, or eight fields of one, and learns about that struct alone. Structs beyond the last copy
// share it, and are read correctly and a little slower. The copies are the same but for their place in the file; make
// changes to all of them.

import type { Input } from "./input.ts";

/** Reads one value. */
export type Read<T = unknown> = (input: Input) => T;

/** Reads up to eight fields into a struct, by default a new one, and whatever fields come after. */
export type ReadFields = (input: Input, struct?: Record<string, unknown>) => Record<string, unknown>;

/** Up to eight fields of a struct. Names and readers are filled up to eight; `count` says how many there are. */
export interface ReadPart {
  /** Makes an empty struct; each struct has a constructor of its own, and so a shape of its own. */
  readonly Struct: new () => Record<string, unknown>;
  readonly names: readonly string[];
  readonly readers: readonly Read[];
  readonly count: number;
  readonly rest: ReadFields | undefined;
}

export const FIELDS_PER_PART = 8;

/** Each part calls the next one, and the stack has an end: structs with more fields are read and written in a loop. */
export const CHAIN_FIELDS_MAX = 128;

/** The copies, in the order in which structs take them. */
export const READ_PARTS: readonly ((part: ReadPart) => ReadFields)[] = [
  ({ Struct, names: [a, b, c, d, e, f, g, h], readers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (input, struct = new Struct()) => {
      struct[a] = A(input);
      if (count === 1) return struct;
      struct[b] = B(input);
      if (count === 2) return struct;
      struct[c] = C(input);
      if (count === 3) return struct;
      struct[d] = D(input);
      if (count === 4) return struct;
      struct[e] = E(input);
      if (count === 5) return struct;
      struct[f] = F(input);
      if (count === 6) return struct;
      struct[g] = G(input);
      if (count === 7) return struct;
      struct[h] = H(input);
      return rest === undefined ? struct : rest(input, struct);
    },
  ({ Struct, names: [a, b, c, d, e, f, g, h], readers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (input, struct = new Struct()) => {
      struct[a] = A(input);
      if (count === 1) return struct;
      struct[b] = B(input);
      if (count === 2) return struct;
      struct[c] = C(input);
      if (count === 3) return struct;
      struct[d] = D(input);
      if (count === 4) return struct;
      struct[e] = E(input);
      if (count === 5) return struct;
      struct[f] = F(input);
      if (count === 6) return struct;
      struct[g] = G(input);
      if (count === 7) return struct;
      struct[h] = H(input);
      return rest === undefined ? struct : rest(input, struct);
    },
  ({ Struct, names: [a, b, c, d, e, f, g, h], readers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (input, struct = new Struct()) => {
      struct[a] = A(input);
      if (count === 1) return struct;
      struct[b] = B(input);
      if (count === 2) return struct;
      struct[c] = C(input);
      if (count === 3) return struct;
      struct[d] = D(input);
      if (count === 4) return struct;
      struct[e] = E(input);
      if (count === 5) return struct;
      struct[f] = F(input);
      if (count === 6) return struct;
      struct[g] = G(input);
      if (count === 7) return struct;
      struct[h] = H(input);
      return rest === undefined ? struct : rest(input, struct);
    },
  ({ Struct, names: [a, b, c, d, e, f, g, h], readers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (input, struct = new Struct()) => {
      struct[a] = A(input);
      if (count === 1) return struct;
      struct[b] = B(input);
      if (count === 2) return struct;
      struct[c] = C(input);
      if (count === 3) return struct;
      struct[d] = D(input);
      if (count === 4) return struct;
      struct[e] = E(input);
      if (count === 5) return struct;
      struct[f] = F(input);
      if (count === 6) return struct;
      struct[g] = G(input);
      if (count === 7) return struct;
      struct[h] = H(input);
      return rest === undefined ? struct : rest(input, struct);
    },
  ({ Struct, names: [a, b, c, d, e, f, g, h], readers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (input, struct = new Struct()) => {
      struct[a] = A(input);
      if (count === 1) return struct;
      struct[b] = B(input);
      if (count === 2) return struct;
      struct[c] = C(input);
      if (count === 3) return struct;
      struct[d] = D(input);
      if (count === 4) return struct;
      struct[e] = E(input);
      if (count === 5) return struct;
      struct[f] = F(input);
      if (count === 6) return struct;
      struct[g] = G(input);
      if (count === 7) return struct;
      struct[h] = H(input);
      return rest === undefined ? struct : rest(input, struct);
    },
  ({ Struct, names: [a, b, c, d, e, f, g, h], readers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (input, struct = new Struct()) => {
      struct[a] = A(input);
      if (count === 1) return struct;
      struct[b] = B(input);
      if (count === 2) return struct;
      struct[c] = C(input);
      if (count === 3) return struct;
      struct[d] = D(input);
      if (count === 4) return struct;
      struct[e] = E(input);
      if (count === 5) return struct;
      struct[f] = F(input);
      if (count === 6) return struct;
      struct[g] = G(input);
      if (count === 7) return struct;
      struct[h] = H(input);
      return rest === undefined ? struct : rest(input, struct);
    },
  ({ Struct, names: [a, b, c, d, e, f, g, h], readers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (input, struct = new Struct()) => {
      struct[a] = A(input);
      if (count === 1) return struct;
      struct[b] = B(input);
      if (count === 2) return struct;
      struct[c] = C(input);
      if (count === 3) return struct;
      struct[d] = D(input);
      if (count === 4) return struct;
      struct[e] = E(input);
      if (count === 5) return struct;
      struct[f] = F(input);
      if (count === 6) return struct;
      struct[g] = G(input);
      if (count === 7) return struct;
      struct[h] = H(input);
      return rest === undefined ? struct : rest(input, struct);
    },
  ({ Struct, names: [a, b, c, d, e, f, g, h], readers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (input, struct = new Struct()) => {
      struct[a] = A(input);
      if (count === 1) return struct;
      struct[b] = B(input);
      if (count === 2) return struct;
      struct[c] = C(input);
      if (count === 3) return struct;
      struct[d] = D(input);
      if (count === 4) return struct;
      struct[e] = E(input);
      if (count === 5) return struct;
      struct[f] = F(input);
      if (count === 6) return struct;
      struct[g] = G(input);
      if (count === 7) return struct;
      struct[h] = H(input);
      return rest === undefined ? struct : rest(input, struct);
    },
  ({ Struct, names: [a, b, c, d, e, f, g, h], readers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (input, struct = new Struct()) => {
      struct[a] = A(input);
      if (count === 1) return struct;
      struct[b] = B(input);
      if (count === 2) return struct;
      struct[c] = C(input);
      if (count === 3) return struct;
      struct[d] = D(input);
      if (count === 4) return struct;
      struct[e] = E(input);
      if (count === 5) return struct;
      struct[f] = F(input);
      if (count === 6) return struct;
      struct[g] = G(input);
      if (count === 7) return struct;
      struct[h] = H(input);
      return rest === undefined ? struct : rest(input, struct);
    },
  ({ Struct, names: [a, b, c, d, e, f, g, h], readers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (input, struct = new Struct()) => {
      struct[a] = A(input);
      if (count === 1) return struct;
      struct[b] = B(input);
      if (count === 2) return struct;
      struct[c] = C(input);
      if (count === 3) return struct;
      struct[d] = D(input);
      if (count === 4) return struct;
      struct[e] = E(input);
      if (count === 5) return struct;
      struct[f] = F(input);
      if (count === 6) return struct;
      struct[g] = G(input);
      if (count === 7) return struct;
      struct[h] = H(input);
      return rest === undefined ? struct : rest(input, struct);
    },
  ({ Struct, names: [a, b, c, d, e, f, g, h], readers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (input, struct = new Struct()) => {
      struct[a] = A(input);
      if (count === 1) return struct;
      struct[b] = B(input);
      if (count === 2) return struct;
      struct[c] = C(input);
      if (count === 3) return struct;
      struct[d] = D(input);
      if (count === 4) return struct;
      struct[e] = E(input);
      if (count === 5) return struct;
      struct[f] = F(input);
      if (count === 6) return struct;
      struct[g] = G(input);
      if (count === 7) return struct;
      struct[h] = H(input);
      return rest === undefined ? struct : rest(input, struct);
    },
  ({ Struct, names: [a, b, c, d, e, f, g, h], readers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (input, struct = new Struct()) => {
      struct[a] = A(input);
      if (count === 1) return struct;
      struct[b] = B(input);
      if (count === 2) return struct;
      struct[c] = C(input);
      if (count === 3) return struct;
      struct[d] = D(input);
      if (count === 4) return struct;
      struct[e] = E(input);
      if (count === 5) return struct;
      struct[f] = F(input);
      if (count === 6) return struct;
      struct[g] = G(input);
      if (count === 7) return struct;
      struct[h] = H(input);
      return rest === undefined ? struct : rest(input, struct);
    },
  ({ Struct, names: [a, b, c, d, e, f, g, h], readers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (input, struct = new Struct()) => {
      struct[a] = A(input);
      if (count === 1) return struct;
      struct[b] = B(input);
      if (count === 2) return struct;
      struct[c] = C(input);
      if (count === 3) return struct;
      struct[d] = D(input);
      if (count === 4) return struct;
      struct[e] = E(input);
      if (count === 5) return struct;
      struct[f] = F(input);
      if (count === 6) return struct;
      struct[g] = G(input);
      if (count === 7) return struct;
      struct[h] = H(input);
      return rest === undefined ? struct : rest(input, struct);
    },
  ({ Struct, names: [a, b, c, d, e, f, g, h], readers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (input, struct = new Struct()) => {
      struct[a] = A(input);
      if (count === 1) return struct;
      struct[b] = B(input);
      if (count === 2) return struct;
      struct[c] = C(input);
      if (count === 3) return struct;
      struct[d] = D(input);
      if (count === 4) return struct;
      struct[e] = E(input);
      if (count === 5) return struct;
      struct[f] = F(input);
      if (count === 6) return struct;
      struct[g] = G(input);
      if (count === 7) return struct;
      struct[h] = H(input);
      return rest === undefined ? struct : rest(input, struct);
    },
  ({ Struct, names: [a, b, c, d, e, f, g, h], readers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (input, struct = new Struct()) => {
      struct[a] = A(input);
      if (count === 1) return struct;
      struct[b] = B(input);
      if (count === 2) return struct;
      struct[c] = C(input);
      if (count === 3) return struct;
      struct[d] = D(input);
      if (count === 4) return struct;
      struct[e] = E(input);
      if (count === 5) return struct;
      struct[f] = F(input);
      if (count === 6) return struct;
      struct[g] = G(input);
      if (count === 7) return struct;
      struct[h] = H(input);
      return rest === undefined ? struct : rest(input, struct);
    },
  ({ Struct, names: [a, b, c, d, e, f, g, h], readers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (input, struct = new Struct()) => {
      struct[a] = A(input);
      if (count === 1) return struct;
      struct[b] = B(input);
      if (count === 2) return struct;
      struct[c] = C(input);
      if (count === 3) return struct;
      struct[d] = D(input);
      if (count === 4) return struct;
      struct[e] = E(input);
      if (count === 5) return struct;
      struct[f] = F(input);
      if (count === 6) return struct;
      struct[g] = G(input);
      if (count === 7) return struct;
      struct[h] = H(input);
      return rest === undefined ? struct : rest(input, struct);
    },
];
