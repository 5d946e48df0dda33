// The suites that browsers run, in Node: here they fail first, and with less around them.

import { after, describe, test } from "node:test";

import { nodeCrew } from "./crew.node.ts";
import { SUITES } from "./suites.ts";

const crew = nodeCrew();
after(() => crew.dismiss());

for (const { name, cases } of SUITES) {
  describe(name, () => {
    for (const [title, run] of Object.entries(cases)) {
      test(title, async () => {
        await run({ name: "node", crew });
      });
    }
  });
}
