// Templates for models whose file brings none, by the name of the format: what the published templates of these
// families write for a plain conversation, in words of our own. Tools, images and thinking are left out.

/** Puts the text of a system message in front of the first message of the user, where a format has no place for it. */
const foldSystem = `{%- set first = 0 -%}
{%- set system = '' -%}
{%- if messages and messages[0].role == 'system' -%}
  {%- set system = messages[0].content -%}
  {%- set first = 1 -%}
{%- endif -%}`;

const chatml = `{%- for message in messages -%}
  {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}`;

const llama2 = `${foldSystem}
{%- for message in messages[first:] -%}
  {%- if message.role == 'user' -%}
    {{- bos_token + '[INST] ' -}}
    {%- if loop.first and system -%}{{- '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' -}}{%- endif -%}
    {{- message.content | trim + ' [/INST]' -}}
  {%- else -%}
    {{- ' ' + message.content | trim + ' ' + eos_token -}}
  {%- endif -%}
{%- endfor -%}`;

const llama3 = `{{- bos_token -}}
{%- for message in messages -%}
  {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}`;

const gemma = `{{- bos_token -}}
${foldSystem}
{%- for message in messages[first:] -%}
  {%- set role = 'model' if message.role == 'assistant' else message.role -%}
  {{- '<start_of_turn>' + role + '\\n' -}}
  {%- if loop.first and system -%}{{- system + '\\n\\n' -}}{%- endif -%}
  {{- message.content | trim + '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}`;

const mistral = `{{- bos_token -}}
${foldSystem}
{%- for message in messages[first:] -%}
  {%- if message.role == 'user' -%}
    {{- '[INST] ' -}}
    {%- if loop.first and system -%}{{- system + '\\n\\n' -}}{%- endif -%}
    {{- message.content + ' [/INST]' -}}
  {%- else -%}
    {{- ' ' + message.content | trim + eos_token -}}
  {%- endif -%}
{%- endfor -%}`;

const zephyr = `{%- for message in messages -%}
  {{- '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- endif -%}`;

const phi3 = `{%- for message in messages -%}
  {{- '<|' + message.role + '|>\\n' + message.content + '<|end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- endif -%}`;

const deepseek = `{{- bos_token -}}
{%- for message in messages -%}
  {%- if message.role == 'system' -%}{{- message.content -}}
  {%- elif message.role == 'user' -%}{{- '<｜User｜>' + message.content -}}
  {%- else -%}{{- '<｜Assistant｜>' + message.content + '<｜end▁of▁sentence｜>' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<｜Assistant｜>' -}}{%- endif -%}`;

/** The sources of the templates, by name. */
export const CHAT_TEMPLATES = { chatml, deepseek, gemma, llama2, llama3, mistral, phi3, zephyr } as const;

export type ChatTemplateName = keyof typeof CHAT_TEMPLATES;
