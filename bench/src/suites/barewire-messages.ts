// The messages that the codecs are measured on: a small one, a list of nested records, and 1 MB of numbers. Several
// of each kind, so that nothing is measured on one value alone.

import { bare } from "@fidelity/barewire";

/** The schema, from which the peers' code is generated or written. */
export const SCHEMA = `
type Kind enum {
  INFO
  WARN
  ERROR
}
type Small struct {
  id: u32
  name: str
  active: bool
  score: f64
  kind: Kind
}
type Point struct {
  x: f64
  y: f64
}
type Address struct {
  street: str
  city: str
  zip: str
  location: Point
}
type Contact struct {
  name: str
  email: optional<str>
  age: u8
  address: Address
  tags: list<str>
}
type Contacts list<Contact>
type Floats struct {
  name: str
  values: list<f32>
}
`;

const kind = bare.enumeration({ INFO: 0, WARN: 1, ERROR: 2 });
export const small = bare.struct({ id: bare.u32, name: bare.str, active: bare.bool, score: bare.f64, kind });
const point = bare.struct({ x: bare.f64, y: bare.f64 });
const address = bare.struct({ street: bare.str, city: bare.str, zip: bare.str, location: point });
const contact = bare.struct({
  name: bare.str,
  email: bare.optional(bare.str),
  age: bare.u8,
  address,
  tags: bare.list(bare.str),
});
export const contacts = bare.list(contact);
export const floats = bare.struct({ name: bare.str, values: bare.list(bare.f32) });

export type Small = bare.TypeOf<typeof small>;
export type Contact = bare.TypeOf<typeof contact>;
export type Floats = bare.TypeOf<typeof floats>;

const KINDS = ["INFO", "WARN", "ERROR"] as const;
const CITIES = ["London", "Gen\u00e8ve", "Athens", "\u6771\u4eac", "Reykjav\u00edk"];
const TAGS = ["mathematics", "engines", "poetry", "weaving"];

export const SMALL_VALUES: readonly Small[] = Array.from({ length: 64 }, (_, i) => ({
  id: 100_000 + 7919 * i,
  name: `sensor-${(i * 37) % 64}`,
  active: i % 3 !== 0,
  score: i * 0.731,
  kind: KINDS[i % 3],
}));

export const CONTACTS_VALUES: readonly (readonly Contact[])[] = Array.from({ length: 8 }, (_, n) =>
  Array.from({ length: 20 }, (_, i) => contactValue(20 * n + i)),
);

function contactValue(i: number): Contact {
  return {
    name: `Ada Lovelace ${i}`,
    email: i % 3 === 0 ? undefined : `ada.${i}@example.org`,
    age: 20 + (i % 60),
    address: {
      street: `${i} Rue de la Paix`,
      city: CITIES[i % CITIES.length],
      zip: String(10_000 + 13 * i),
      location: { x: 46 + i / 7, y: i / 3 },
    },
    tags: TAGS.slice(i % 3, 1 + (i % 4)),
  };
}

/** One megabyte of numbers each. */
export const FLOATS_VALUES: readonly Floats[] = [0, 1].map((n) => ({
  name: `weights ${n}`,
  values: Float32Array.from({ length: 2 ** 18 }, (_, i) => Math.sin(i + n)),
}));
