// Records in place: one schema gives the type, the layout and the views; nothing is decoded and nothing is copied.
// Run it: node packages/barewire/examples/view.ts

import { assertNoCopies, bare, build, buildInto, describeLayout } from "@fidelity/barewire";
import { layoutOf, match, SharedArena, viewOf } from "@fidelity/barewire";

const shape = bare.union({
  circle: [0, bare.struct({ radius: bare.f64 })],
  square: [1, bare.f64],
});
const scene = bare.struct({
  name: bare.str,
  isVisible: bare.bool,
  shapes: bare.list(shape),
  samples: bare.list(bare.f32),
});

const layout = layoutOf(scene, { alignBytes: 64 });
console.log(describeLayout(layout).split("\n\n")[0]);

// Into shared memory, where wasm, native code and every worker see the same bytes.
const value: bare.TypeOf<typeof scene> = {
  name: "roof",
  isVisible: true,
  shapes: [
    { kind: "circle", value: { radius: 2 } },
    { kind: "square", value: 3 },
  ],
  samples: Float32Array.of(1, 2, 3),
};
using arena = SharedArena.create();
using memory = arena.alloc(build(layout, value).length, 64, "scene");
buildInto(layout, value, memory);

// `checked` looks at every slot, tag and text once; from then on reading is a load from a typed array.
const view = viewOf(layout).checked(memory);
const cases = {
  circle: (circle: { readonly radius: number }) => Math.PI * circle.radius ** 2,
  square: (side: number) => side ** 2,
};
const area = assertNoCopies(() => {
  let sum = 0;
  for (let i = 0; i < view.shapes.length; i++) sum += match(view.shapes.at(i), cases);
  return sum;
});
console.log(view.name, area.toFixed(2));

// Writing in place: fixed-size values and the elements of lists.
view.isVisible = false;
view.samples.array()[1] = 20; // a Float32Array over the arena itself
console.log(view.isVisible, view.samples.toArray());

// Output:
// fixed part: 64 B, aligned to 64, 39 of padding
//   offset  size  path       type
//        0     8  name       slot of str
//        8     1  isVisible  bool
//        9     3             padding
//       12     8  shapes     slot of list of union(16 B)
//       20     8  samples    slot of list of f32
//       28    36             padding
// roof 21.57
// false Float32Array(3) [ 1, 20, 3 ]
