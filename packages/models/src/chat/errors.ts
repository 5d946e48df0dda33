// What can go wrong with a chat template: it cannot be read, refuses the conversation, or takes too long.

import { FidelityError } from "@fidelity/units";

export class ChatTemplateError extends FidelityError {}
