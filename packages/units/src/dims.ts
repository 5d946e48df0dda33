// Shapes in the type system. A dim is a literal (`768`), a name (`"batch"`) or `number`, which means unchecked; a shape
// is a tuple of dims. The types here compare, broadcast, permute and drop dims and nothing else: adding or multiplying
// dims through tuple lengths was measured at ten times the checking time, so an op that needs arithmetic (concat,
// reshape, convolution) returns `number` there and is checked when the graph is built.
//
// A mismatch is the phantom type `ShapeError<"a sentence">`. It is itself a shape, so that op signatures stay plain;
// an op that must refuse the argument wraps its type in `Checked`, and the compiler prints the sentence.
//
// Left out: arithmetic on dims, and solving for unknown names.

/** One extent: a literal, a name, or `number` (and `string`) for "checked only when the graph is built". */
export type Dim = number | string;

/** The dims of a tensor, outermost first. `Shape` itself, like any array that is no tuple, means an unchecked rank. */
export type Shape = readonly Dim[];

/** The type of a shape that cannot exist; `Message` says why. No value has this type. */
export interface ShapeError<Message extends string> extends ReadonlyArray<never> {
  readonly shapeError: Message;
}

/** `Accepted` where `Result` is a shape, and the error itself where it is not: the type of a parameter to check. */
export type Checked<Result, Accepted> = Result extends ShapeError<string> ? Result : Accepted;

/** A shape as text: `[batch, 768]`. */
export type ShowShape<S extends Shape> = number extends S["length"] ? "[...]" : `[${JoinDims<S>}]`;

type JoinDims<S extends Shape> = S extends readonly [infer Only extends Dim]
  ? `${Only}`
  : S extends readonly [infer First extends Dim, ...infer Rest extends Shape]
    ? `${First}, ${JoinDims<Rest>}`
    : "";

/** The more exact of two equal dims; `never` if they differ. `number` and `string` equal everything. */
export type SameDim<A extends Dim, B extends Dim> = [A] extends [B]
  ? A
  : [B] extends [A]
    ? B
    : number extends A
      ? B
      : number extends B
        ? A
        : string extends A
          ? B
          : string extends B
            ? A
            : never;

/** The dim that two dims broadcast to: 1 gives way, equal dims stay, and anything else is `never`. */
export type BroadcastDim<A extends Dim, B extends Dim> = [A] extends [1] ? B : [B] extends [1] ? A : SameDim<A, B>;

/** The shape of two operands that must agree dim by dim, or a `ShapeError` that begins with `Op`. */
export type SameShape<A extends Shape, B extends Shape, Op extends string = "shapes"> =
  IsWide<A, B> extends true ? Shape : AsShape<SameDims<A, B, [], ShapeError<Differ<Op, A, B>>>>;

/** The shape that two shapes broadcast to, aligned at their last dims, or a `ShapeError` that begins with `Op`. */
export type Broadcast<A extends Shape, B extends Shape, Op extends string = "broadcast"> =
  IsWide<A, B> extends true ? Shape : AsShape<BroadcastDims<A, B, [], ShapeError<Differ<Op, A, B>>>>;

/** The dims of `S` in the order of `Axes`, as in `Permute<["a", "b"], [1, 0]>`; axes count from 0. */
export type Permute<S extends Shape, Axes extends readonly number[]> =
  IsWide<S, Axes> extends true
    ? Shape
    : Axes["length"] extends S["length"]
      ? AsShape<{ [Position in keyof Axes]: S[Axes[Position]] }>
      : ShapeError<`permute: ${ShowShape<Axes>} does not name every axis of ${ShowShape<S>}`>;

/** `S` with its last two dims exchanged. */
export type SwapLastTwo<S extends Shape> = number extends S["length"]
  ? Shape
  : S extends readonly [...infer Front extends Shape, infer A extends Dim, infer B extends Dim]
    ? [...Front, B, A]
    : ShapeError<`transpose: ${ShowShape<S>} has fewer than two dims`>;

/** `S` without the dim at `Axis`; a negative axis counts from the end. */
export type Drop<S extends Shape, Axis extends number> = ReplaceAt<S, Axis, []>;

/** `S` with the dim at `Axis` exchanged for the dims `Into`: `[]` drops it, `[1]` keeps it, `[number]` frees it. */
export type ReplaceAt<S extends Shape, Axis extends number, Into extends Shape> = number extends Axis | S["length"]
  ? Shape
  : AsShape<
      `${Axis}` extends `-${infer FromEnd}`
        ? ReplaceFromEnd<S, FromEnd, Into, [], ShapeError<NoAxis<S, Axis>>>
        : ReplaceFromStart<S, `${Axis}`, Into, [], ShapeError<NoAxis<S, Axis>>>
    >;

// Texts, not `ShapeError` aliases: the compiler prints the name of an alias instead of the sentence inside.
type Differ<Op extends string, A extends Shape, B extends Shape> = `${Op}: ${ShowShape<A>} and ${ShowShape<B>} differ`;
type NoAxis<S extends Shape, Axis extends number> = `axis ${Axis} is outside ${ShowShape<S>}`;

// Conditional types over generic shapes stay unresolved inside generic code; this gives them `Shape` as constraint.
type AsShape<T> = T extends Shape ? T : never;

type IsWide<A extends Shape, B extends Shape> = number extends A["length"]
  ? true
  : number extends B["length"]
    ? true
    : false;

// Both walk from the last dim to the first, because that is where broadcasting aligns; `Done` holds the dims behind.
type SameDims<A extends Shape, B extends Shape, Done extends Shape, Otherwise> = A extends readonly [
  ...infer RestA extends Shape,
  infer LastA extends Dim,
]
  ? B extends readonly [...infer RestB extends Shape, infer LastB extends Dim]
    ? [SameDim<LastA, LastB>] extends [never]
      ? Otherwise
      : SameDims<RestA, RestB, [SameDim<LastA, LastB>, ...Done], Otherwise>
    : Otherwise
  : B["length"] extends 0
    ? Done
    : Otherwise;

type BroadcastDims<A extends Shape, B extends Shape, Done extends Shape, Otherwise> = A extends readonly [
  ...infer RestA extends Shape,
  infer LastA extends Dim,
]
  ? B extends readonly [...infer RestB extends Shape, infer LastB extends Dim]
    ? [BroadcastDim<LastA, LastB>] extends [never]
      ? Otherwise
      : BroadcastDims<RestA, RestB, [BroadcastDim<LastA, LastB>, ...Done], Otherwise>
    : [...A, ...Done]
  : [...B, ...Done];

// `Seen` counts the axes passed: an index, never a dim.
type ReplaceFromStart<
  S extends Shape,
  Axis extends string,
  Into extends Shape,
  Seen extends Shape,
  Otherwise,
> = S extends readonly [infer First extends Dim, ...infer Rest extends Shape]
  ? `${Seen["length"]}` extends Axis
    ? [...Seen, ...Into, ...Rest]
    : ReplaceFromStart<Rest, Axis, Into, [...Seen, First], Otherwise>
  : Otherwise;

type ReplaceFromEnd<
  S extends Shape,
  FromEnd extends string,
  Into extends Shape,
  Seen extends Shape,
  Otherwise,
> = S extends readonly [...infer Rest extends Shape, infer Last extends Dim]
  ? `${[Last, ...Seen]["length"]}` extends FromEnd
    ? [...Rest, ...Into, ...Seen]
    : ReplaceFromEnd<Rest, FromEnd, Into, [Last, ...Seen], Otherwise>
  : Otherwise;
