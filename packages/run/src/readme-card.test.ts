import assert from "node:assert/strict";
import { test } from "node:test";
import { cardOfReadme } from "./readme-card.ts";

test("the front matter of a README becomes a card; what is nested is passed over", () => {
  const text = `---
license: apache-2.0 # as the base
language:
- en
- "de"
tags: [chat, 'ternary']
base_model:
  - org/first
  - org/second
model-index:
- name: x
  results:
  - task: y
library_name: transformers
---
# A model
license: mit
`;
  assert.deepEqual(Object.fromEntries(cardOfReadme(text)), {
    "general.license": "apache-2.0",
    "general.languages": ["en", "de"],
    "general.tags": ["chat", "ternary"],
    "general.base_model.count": 2,
    "general.base_model.0.name": "org/first",
    "general.base_model.1.name": "org/second",
  });
  for (const none of ["", "# Title\n---\nlicense: mit\n---", "---\n"]) assert.equal(cardOfReadme(none).size, 0);
});
