// The formats of JSON Schema as regular expressions. They give a part of what a format means, and nothing else: dates
// are of days that every year has, addresses are written in full.

const hour = "(?:[01]\\d|2[0-3])";
const sixty = "[0-5]\\d";
const day =
  "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))";
const date = `\\d{4}-${day}`;
const time = `${hour}:${sixty}:${sixty}(?:\\.\\d{1,6})?(?:Z|[+-]${hour}:${sixty})`;
const byte = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
// No hyphens side by side, which internationalised names have, and a last part that is no number, as addresses have.
const host = "(?:[a-z0-9]{1,20}(?:-[a-z0-9]{1,20})?\\.){1,3}[a-z]{2,12}";

export const FORMATS: Readonly<Record<string, string>> = {
  date,
  time,
  "date-time": `${date}T${time}`,
  duration: "P(?:\\d{1,4}W|\\d{1,4}D(?:T\\d{1,4}H)?|T\\d{1,4}[HMS])",
  email: `[a-z0-9]{1,20}(?:[._+-][a-z0-9]{1,20}){0,2}@${host}`,
  hostname: host,
  ipv4: `${byte}(?:\\.${byte}){3}`,
  ipv6: "[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){7}",
  uri: `https?://${host}(?:/[A-Za-z0-9._~-]{1,40}){0,8}`,
  uuid: "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
};
