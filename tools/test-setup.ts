// Runs before every test file: random cases are the same in every run, so that a failure is the fault of what changed.
// FIDELITY_SEED draws others.

import fc from "fast-check";

fc.configureGlobal({ seed: Number(process.env.FIDELITY_SEED ?? 1) });
