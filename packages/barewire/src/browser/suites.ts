// All suites that Node and browsers run.

import { channels } from "./channels.ts";
import { codecs } from "./codecs.ts";
import { containers } from "./containers.ts";
import { memory } from "./memory.ts";
import { schemas } from "./schemas.ts";
import type { Suite } from "./suite.ts";
import { views } from "./views.ts";

export const SUITES: readonly Suite[] = [schemas, codecs, views, containers, memory, channels];
