// What the two sides of the measurements of channels agree on; echo.ts is the other side.

import type { ThreadHandle } from "@fidelity/barewire";

/** What the sender of a message wants done, as the tag of a message over a ring. */
export const WISH = {
  /** The same bytes back. */
  echo: 0,
  /** Its first and last byte read where they lie, and a word back. */
  look: 1,
  /** Nothing: it is one of many. */
  nothing: 2,
  /** Its bytes copied out. */
  copy: 3,
} as const;

/** What a thread is told. */
export type EchoThread =
  | { readonly kind: "ring"; readonly there: ThreadHandle; readonly back: ThreadHandle }
  | { readonly kind: "post" };
