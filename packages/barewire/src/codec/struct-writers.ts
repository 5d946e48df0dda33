// Writing structs: one function many times over, for the reason that struct-readers.ts gives. Each copy writes up to
// eight fields of one struct. The copies are the same but for their place in the file; make changes to all of them.

import type { Output } from "./output.ts";

/** Writes one value. What the value must be is checked as it is written. */
export type Write = (output: Output, value: never) => void;

/** Writes the fields of a struct. */
export type WriteFields = (output: Output, struct: Readonly<Record<string, never>>) => void;

/** Up to eight fields of a struct. Names and writers are filled up to eight; `count` says how many there are. */
export interface WritePart {
  readonly names: readonly string[];
  readonly writers: readonly Write[];
  readonly count: number;
  readonly rest: WriteFields | undefined;
}

/** The copies, in the order in which structs take them. */
export const WRITE_PARTS: readonly ((part: WritePart) => WriteFields)[] = [
  ({ names: [a, b, c, d, e, f, g, h], writers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (output, struct) => {
      A(output, struct[a]);
      if (count === 1) return;
      B(output, struct[b]);
      if (count === 2) return;
      C(output, struct[c]);
      if (count === 3) return;
      D(output, struct[d]);
      if (count === 4) return;
      E(output, struct[e]);
      if (count === 5) return;
      F(output, struct[f]);
      if (count === 6) return;
      G(output, struct[g]);
      if (count === 7) return;
      H(output, struct[h]);
      if (rest !== undefined) rest(output, struct);
    },
  ({ names: [a, b, c, d, e, f, g, h], writers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (output, struct) => {
      A(output, struct[a]);
      if (count === 1) return;
      B(output, struct[b]);
      if (count === 2) return;
      C(output, struct[c]);
      if (count === 3) return;
      D(output, struct[d]);
      if (count === 4) return;
      E(output, struct[e]);
      if (count === 5) return;
      F(output, struct[f]);
      if (count === 6) return;
      G(output, struct[g]);
      if (count === 7) return;
      H(output, struct[h]);
      if (rest !== undefined) rest(output, struct);
    },
  ({ names: [a, b, c, d, e, f, g, h], writers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (output, struct) => {
      A(output, struct[a]);
      if (count === 1) return;
      B(output, struct[b]);
      if (count === 2) return;
      C(output, struct[c]);
      if (count === 3) return;
      D(output, struct[d]);
      if (count === 4) return;
      E(output, struct[e]);
      if (count === 5) return;
      F(output, struct[f]);
      if (count === 6) return;
      G(output, struct[g]);
      if (count === 7) return;
      H(output, struct[h]);
      if (rest !== undefined) rest(output, struct);
    },
  ({ names: [a, b, c, d, e, f, g, h], writers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (output, struct) => {
      A(output, struct[a]);
      if (count === 1) return;
      B(output, struct[b]);
      if (count === 2) return;
      C(output, struct[c]);
      if (count === 3) return;
      D(output, struct[d]);
      if (count === 4) return;
      E(output, struct[e]);
      if (count === 5) return;
      F(output, struct[f]);
      if (count === 6) return;
      G(output, struct[g]);
      if (count === 7) return;
      H(output, struct[h]);
      if (rest !== undefined) rest(output, struct);
    },
  ({ names: [a, b, c, d, e, f, g, h], writers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (output, struct) => {
      A(output, struct[a]);
      if (count === 1) return;
      B(output, struct[b]);
      if (count === 2) return;
      C(output, struct[c]);
      if (count === 3) return;
      D(output, struct[d]);
      if (count === 4) return;
      E(output, struct[e]);
      if (count === 5) return;
      F(output, struct[f]);
      if (count === 6) return;
      G(output, struct[g]);
      if (count === 7) return;
      H(output, struct[h]);
      if (rest !== undefined) rest(output, struct);
    },
  ({ names: [a, b, c, d, e, f, g, h], writers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (output, struct) => {
      A(output, struct[a]);
      if (count === 1) return;
      B(output, struct[b]);
      if (count === 2) return;
      C(output, struct[c]);
      if (count === 3) return;
      D(output, struct[d]);
      if (count === 4) return;
      E(output, struct[e]);
      if (count === 5) return;
      F(output, struct[f]);
      if (count === 6) return;
      G(output, struct[g]);
      if (count === 7) return;
      H(output, struct[h]);
      if (rest !== undefined) rest(output, struct);
    },
  ({ names: [a, b, c, d, e, f, g, h], writers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (output, struct) => {
      A(output, struct[a]);
      if (count === 1) return;
      B(output, struct[b]);
      if (count === 2) return;
      C(output, struct[c]);
      if (count === 3) return;
      D(output, struct[d]);
      if (count === 4) return;
      E(output, struct[e]);
      if (count === 5) return;
      F(output, struct[f]);
      if (count === 6) return;
      G(output, struct[g]);
      if (count === 7) return;
      H(output, struct[h]);
      if (rest !== undefined) rest(output, struct);
    },
  ({ names: [a, b, c, d, e, f, g, h], writers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (output, struct) => {
      A(output, struct[a]);
      if (count === 1) return;
      B(output, struct[b]);
      if (count === 2) return;
      C(output, struct[c]);
      if (count === 3) return;
      D(output, struct[d]);
      if (count === 4) return;
      E(output, struct[e]);
      if (count === 5) return;
      F(output, struct[f]);
      if (count === 6) return;
      G(output, struct[g]);
      if (count === 7) return;
      H(output, struct[h]);
      if (rest !== undefined) rest(output, struct);
    },
  ({ names: [a, b, c, d, e, f, g, h], writers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (output, struct) => {
      A(output, struct[a]);
      if (count === 1) return;
      B(output, struct[b]);
      if (count === 2) return;
      C(output, struct[c]);
      if (count === 3) return;
      D(output, struct[d]);
      if (count === 4) return;
      E(output, struct[e]);
      if (count === 5) return;
      F(output, struct[f]);
      if (count === 6) return;
      G(output, struct[g]);
      if (count === 7) return;
      H(output, struct[h]);
      if (rest !== undefined) rest(output, struct);
    },
  ({ names: [a, b, c, d, e, f, g, h], writers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (output, struct) => {
      A(output, struct[a]);
      if (count === 1) return;
      B(output, struct[b]);
      if (count === 2) return;
      C(output, struct[c]);
      if (count === 3) return;
      D(output, struct[d]);
      if (count === 4) return;
      E(output, struct[e]);
      if (count === 5) return;
      F(output, struct[f]);
      if (count === 6) return;
      G(output, struct[g]);
      if (count === 7) return;
      H(output, struct[h]);
      if (rest !== undefined) rest(output, struct);
    },
  ({ names: [a, b, c, d, e, f, g, h], writers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (output, struct) => {
      A(output, struct[a]);
      if (count === 1) return;
      B(output, struct[b]);
      if (count === 2) return;
      C(output, struct[c]);
      if (count === 3) return;
      D(output, struct[d]);
      if (count === 4) return;
      E(output, struct[e]);
      if (count === 5) return;
      F(output, struct[f]);
      if (count === 6) return;
      G(output, struct[g]);
      if (count === 7) return;
      H(output, struct[h]);
      if (rest !== undefined) rest(output, struct);
    },
  ({ names: [a, b, c, d, e, f, g, h], writers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (output, struct) => {
      A(output, struct[a]);
      if (count === 1) return;
      B(output, struct[b]);
      if (count === 2) return;
      C(output, struct[c]);
      if (count === 3) return;
      D(output, struct[d]);
      if (count === 4) return;
      E(output, struct[e]);
      if (count === 5) return;
      F(output, struct[f]);
      if (count === 6) return;
      G(output, struct[g]);
      if (count === 7) return;
      H(output, struct[h]);
      if (rest !== undefined) rest(output, struct);
    },
  ({ names: [a, b, c, d, e, f, g, h], writers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (output, struct) => {
      A(output, struct[a]);
      if (count === 1) return;
      B(output, struct[b]);
      if (count === 2) return;
      C(output, struct[c]);
      if (count === 3) return;
      D(output, struct[d]);
      if (count === 4) return;
      E(output, struct[e]);
      if (count === 5) return;
      F(output, struct[f]);
      if (count === 6) return;
      G(output, struct[g]);
      if (count === 7) return;
      H(output, struct[h]);
      if (rest !== undefined) rest(output, struct);
    },
  ({ names: [a, b, c, d, e, f, g, h], writers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (output, struct) => {
      A(output, struct[a]);
      if (count === 1) return;
      B(output, struct[b]);
      if (count === 2) return;
      C(output, struct[c]);
      if (count === 3) return;
      D(output, struct[d]);
      if (count === 4) return;
      E(output, struct[e]);
      if (count === 5) return;
      F(output, struct[f]);
      if (count === 6) return;
      G(output, struct[g]);
      if (count === 7) return;
      H(output, struct[h]);
      if (rest !== undefined) rest(output, struct);
    },
  ({ names: [a, b, c, d, e, f, g, h], writers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (output, struct) => {
      A(output, struct[a]);
      if (count === 1) return;
      B(output, struct[b]);
      if (count === 2) return;
      C(output, struct[c]);
      if (count === 3) return;
      D(output, struct[d]);
      if (count === 4) return;
      E(output, struct[e]);
      if (count === 5) return;
      F(output, struct[f]);
      if (count === 6) return;
      G(output, struct[g]);
      if (count === 7) return;
      H(output, struct[h]);
      if (rest !== undefined) rest(output, struct);
    },
  ({ names: [a, b, c, d, e, f, g, h], writers: [A, B, C, D, E, F, G, H], count, rest }) =>
    (output, struct) => {
      A(output, struct[a]);
      if (count === 1) return;
      B(output, struct[b]);
      if (count === 2) return;
      C(output, struct[c]);
      if (count === 3) return;
      D(output, struct[d]);
      if (count === 4) return;
      E(output, struct[e]);
      if (count === 5) return;
      F(output, struct[f]);
      if (count === 6) return;
      G(output, struct[g]);
      if (count === 7) return;
      H(output, struct[h]);
      if (rest !== undefined) rest(output, struct);
    },
];
