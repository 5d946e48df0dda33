// Chat templates: conversations as the text that a model continues.

export { CHAT_LIMITS, ChatTemplate } from "./chat-template.ts";
export type { ChatMessage, ChatOptions } from "./chat-template.ts";
export { CHAT_TEMPLATES } from "./chat-templates.ts";
export type { ChatTemplateName } from "./chat-templates.ts";
export { ChatTemplateError } from "./errors.ts";
