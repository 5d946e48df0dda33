// What the page and the worker that holds the model send each other.

import type { GenerationResult } from "@fidelity/run";

/** From the page. */
export type Order =
  /** A file that was chosen, or an address whose server gives ranges; on as many threads as there are, unless said. */
  | { readonly kind: "open"; readonly from: File | string; readonly threads?: number }
  | { readonly kind: "ask"; readonly text: string; readonly maxTokens: number; readonly temperature: number }
  | { readonly kind: "stop" };

/** From the worker. */
export type Report =
  | { readonly kind: "progress"; readonly done: number; readonly total: number }
  | { readonly kind: "opened"; readonly about: ModelAbout }
  | { readonly kind: "piece"; readonly text: string }
  | { readonly kind: "ended"; readonly result: Pick<GenerationResult, "endedBy" | "usage" | "timings"> }
  | { readonly kind: "failed"; readonly message: string };

/** What was opened, and what it runs on. */
export interface ModelAbout {
  readonly name: string;
  readonly architecture: string;
  readonly parameters: number;
  readonly threads: number;
  readonly seconds: number;
}
