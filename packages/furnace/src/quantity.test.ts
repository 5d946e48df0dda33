// Measured tensors are tensors: what they compute and what their gradients are.

import { test } from "node:test";
import { grad, quantity } from "./index.ts";
import { assertClose, run, vector } from "./support.test.ts";

test("the force of a spring", () => {
  const [force] = run(
    (x, k) =>
      grad((u: ReturnType<typeof quantity.of<readonly number[], "f64", "m">>) => {
        const stiffness = quantity.of(k!, "N/m");
        const stretch = quantity.sub(u, quantity.of(k!, "m"));
        const kinetic = quantity.neg(quantity.scale(quantity.mul(stiffness, quantity.mul(stretch, stretch)), -0.5));
        return quantity.sum(quantity.add(kinetic, quantity.div(quantity.mul(kinetic, u), u)));
      })(quantity.of(x!, "m")),
    vector(1, 2),
    vector(3, 5),
  );
  assertClose(force!, [2 * 3 * (1 - 3), 2 * 5 * (2 - 5)], 1e-14);
});
