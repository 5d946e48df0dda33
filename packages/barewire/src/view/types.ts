// The types of views, derived from the TypeScript type of a schema's values: what reads as a value (numbers, text) is
// the value itself, and what has parts is a view of them. `A` is the access of the region under the view: on "r"
// nothing can be assigned. Left out: run-time checks of access, which like those of regions are the compiler's.

import type { Access } from "../region.ts";
import type { NumberArray } from "./memory.ts";

/** What a view reads by value. */
export type ScalarValue = number | bigint | boolean | string | undefined;

/** A value of a union: the member's name and its value. */
export interface UnionValue {
  readonly kind: string;
  readonly value: unknown;
}

// Values lie in buffers of their own; what a view gives may lie in shared memory.
type OverAnyBuffer<N extends NumberArray> = N extends { readonly [Symbol.toStringTag]: infer Tag extends keyof ArrayOf }
  ? ArrayOf[Tag]
  : never;

interface ArrayOf {
  Uint8Array: Uint8Array;
  Uint16Array: Uint16Array;
  Uint32Array: Uint32Array;
  BigUint64Array: BigUint64Array;
  Int8Array: Int8Array;
  Int16Array: Int16Array;
  Int32Array: Int32Array;
  BigInt64Array: BigInt64Array;
  Float32Array: Float32Array;
  Float64Array: Float64Array;
}

type Entry<N extends NumberArray> = N[number];

/** Array elements that can be read and not assigned. */
export type ReadonlyNumbers<N extends NumberArray> = ArrayLike<Entry<N>> & Iterable<Entry<N>>;

/** A list of numbers in place. */
export interface NumbersView<N extends NumberArray, A extends Access> {
  readonly length: number;
  /** Entry `index`; throws `ViewError` outside the list. */
  at(index: number): Entry<N>;
  /** Writes an entry. Throws `ViewError` where the number does not fit its type. */
  set(this: NumbersView<N, "rw">, index: number, value: Entry<N>): void;
  /** The entries where they lie, without a copy. Throws `ViewError` where the list is packed into bits. */
  array(): A extends "rw" ? N : ReadonlyNumbers<N>;
  /** A copy of the entries. */
  toArray(): N;
  readonly _access?: A;
}

/** A list in place. `at` of a list of structs seats one view again and again and returns it: copy what must stay. */
export interface ListView<E, A extends Access> {
  readonly length: number;
  /** The item at `index`; throws `ViewError` outside the list. */
  at(index: number): View<E, A>;
  /** Writes an item of fixed size in place. Throws `ViewError` where it does not fit. */
  set(this: ListView<E, "rw">, index: number, value: E): void;
  /** One field of all structs as a list of its own. Throws `ViewError` unless the list is a structure of arrays. */
  column<K extends keyof E & string>(name: K): Column<E[K], A>;
  readonly _access?: A;
}

/** One field of a structure of arrays. */
export type Column<E, A extends Access> = [E] extends [number]
  ? NumbersView<Exclude<NumberArray, BigInt64Array | BigUint64Array>, A>
  : [E] extends [bigint]
    ? NumbersView<BigInt64Array | BigUint64Array, A>
    : ListView<E, A>;

/** A map in place, in the order in which its entries were written. */
export interface MapView<K, V, A extends Access> {
  readonly size: number;
  keyAt(index: number): View<K, A>;
  valueAt(index: number): View<V, A>;
  /** The value of a key, found by looking through the entries; undefined where there is none. */
  get(key: K): View<V, A> | undefined;
}

/** A union in place; `match` takes it apart. */
export interface UnionView<T extends UnionValue, A extends Access> {
  readonly kind: T["kind"];
  readonly _union?: () => T;
  readonly _access?: A;
}

/** A struct in place: scalars are read and assigned, parts are views. */
export type StructView<T, A extends Access> = [A] extends ["rw"]
  ? { -readonly [K in keyof T as T[K] extends ScalarValue ? K : never]: T[K] } & {
      readonly [K in keyof T as T[K] extends ScalarValue ? never : K]: View<T[K], A>;
    }
  : { readonly [K in keyof T]: View<T[K], A> };

/** The view of values of type `T`. An optional part is its view, or undefined. */
export type View<T, A extends Access = "rw"> = [Exclude<T, undefined>] extends [never]
  ? undefined
  : [T] extends [ScalarValue]
    ? T
    : PartView<Exclude<T, undefined>, A> | Extract<T, undefined>;

type PartView<T, A extends Access> = [T] extends [NumberArray]
  ? NumbersView<OverAnyBuffer<T>, A>
  : [T] extends [ReadonlyMap<infer K, infer V>]
    ? MapView<K, V, A>
    : [T] extends [readonly (infer E)[]]
      ? ListView<E, A>
      : IsUnion<T> extends true
        ? UnionView<Extract<T, UnionValue>, A>
        : StructView<T, A>;

// A union's values have these two properties and no others, and its kinds are literals.
type IsUnion<T> = [T] extends [UnionValue]
  ? Exclude<keyof T, "kind" | "value"> extends never
    ? IsLiteral<T["kind"]>
    : false
  : false;
type IsLiteral<K extends string> = string extends K ? false : true;

/** One function for each member of a union; one that is missing does not compile. */
export type MatchCases<T extends UnionValue, A extends Access> = {
  readonly [K in T["kind"]]: (view: View<MemberValue<T, K>, A>) => unknown;
};

/** The value that member `K` carries. */
export type MemberValue<T extends UnionValue, K extends string> =
  Extract<T, { readonly kind: K }> extends { readonly value: infer V } ? V : undefined;
