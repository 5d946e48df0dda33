// What the page and its workers send each other.

import { bare } from "@fidelity/barewire";
import type { ThreadHandle } from "@fidelity/barewire";

/** From the page: text to be answered. */
export const question = bare.struct({ id: bare.u32, text: bare.str });

/** From the worker. */
export const answer = bare.struct({ id: bare.u32, text: bare.str });

/** The only thing that goes by `postMessage`: where the channels lie, and what the worker does with them. */
export interface Task {
  /** "answer" questions, send bytes back as they come ("echo"), or "measure" round trips to another worker. */
  readonly kind: "answer" | "echo" | "measure";
  readonly incoming: ThreadHandle;
  readonly outgoing: ThreadHandle;
}

/** Size of the messages that are measured. */
export const PROBE_BYTES = 64;

/** How many round trips a measurement makes. */
export const ROUND_TRIPS = 2000;
